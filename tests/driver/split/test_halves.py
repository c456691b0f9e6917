"""Halves in sequence compute what the whole model does, wherever it is cut: against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_kit import FLOAT, model, node, value

from optc.driver.split.halves import cut
from optc.frontends import load_model
from optc.ir.core import Module, Operation
from optc.ir.verifier import verify
from optc.ops.onnx_export import to_onnx_model
from optc.passes.split.graph import operations_of, private_values, split_problem
from optc.passes.split.problem import is_allowed

WEIGHTS = {"w": np.linspace(-1, 1, 36).reshape(4, 1, 3, 3).astype(np.float32), "two": np.float32(2.0)}


def branchy() -> onnx.ModelProto:
    """Skips over operations, a value read thrice, one that is an output too, an input read on both sides."""
    nodes = [
        node("Conv", "x w", "a", name="conv", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b", name="relu"),
        node("Mul", "b two", "c", name="mul"),
        node("Add", "b c", "d", name="add"),
        node("Sigmoid", "d", "e", name="gate"),
        node("Mul", "e b", "f", name="scale"),
        node("Sub", "f x", "g", name="less"),
        node("ReduceMean", "g", "h", name="mean", axes=[2, 3], keepdims=0),
    ]
    return model(nodes, [value("x", (1, 1, 6, 6))], [value("d", (1, 4, 6, 6)), value("h", (1, 4))], WEIGHTS)


def conditional() -> onnx.ModelProto:
    """A branch that captures values of the graph around it."""

    def branch(name: str, op: str) -> onnx.GraphProto:
        return onnx.helper.make_graph([node(op, "a b", f"{name}_out")], name, [], [value(f"{name}_out", (2, 3))])

    nodes = [
        node("Relu", "x", "a"),
        node("Neg", "x", "b"),
        node("If", "flag", "c", then_branch=branch("yes", "Add"), else_branch=branch("no", "Mul")),
        node("Abs", "c", "y"),
    ]
    inputs = [value("x", (2, 3)), value("flag", (), onnx.TensorProto.BOOL)]
    return model(nodes, inputs, [value("y", (2, 3))])


def run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    known = {node.name for node in session.get_inputs()}
    found = session.run(names, {name: array for name, array in feeds.items() if name in known})
    return dict(zip(names, found, strict=True))


def in_sequence(module: Module, near: list[Operation], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    parts = cut(module, near)
    made = dict(feeds)
    if parts.device is not None:
        verify(parts.device)
        made |= run(to_onnx_model(parts.device), feeds)
    if parts.server is not None:
        verify(parts.server)
        made |= run(to_onnx_model(parts.server), {name: made[name] for name, _ in parts.sent})
    return made


def closed(operations: list[Operation], picks: list[bool]) -> list[Operation]:
    """The picked operations with everything that they read from."""
    near: set[Operation] = set()
    for operation, picked in reversed(list(zip(operations, picks, strict=True))):
        if picked or operation in near:
            near.add(operation)
            from optc.ir.captures import free_values

            near.update(each.producer for each in free_values(operation) if each.producer is not None)
    return [operation for operation in operations if operation in near]


@pytest.mark.parametrize("build", [branchy, conditional])
@given(picks=st.lists(st.booleans(), min_size=8, max_size=8))
@settings(max_examples=15, derandomize=True, deadline=None)
def test_any_cut_computes_the_same(build, picks: list[bool]) -> None:  # type: ignore[no-untyped-def]
    proto = build()
    generator = np.random.default_rng(0)
    feeds = {
        each.name: (
            generator.standard_normal([dim.dim_value for dim in each.type.tensor_type.shape.dim]).astype(np.float32)
            if each.type.tensor_type.elem_type == FLOAT
            else np.array(True)
        )
        for each in proto.graph.input
    }
    module = load_model(proto).module
    operations = operations_of(module.main)
    near = closed(operations, picks[: len(operations)])
    found = in_sequence(module, near, feeds)
    for name, expected in run(proto, feeds).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-6)


def test_what_crosses_bears_the_users_names() -> None:
    module = load_model(branchy()).module
    near = operations_of(module.main)[:2]
    parts = cut(module, near)
    assert [name for name, _ in parts.sent] == ["x", "b"]
    assert [name for name, _ in parts.returned] == ["d", "h"]
    assert parts.device is not None and parts.device.main.output_names == ["b"]
    later = cut(module, operations_of(module.main)[:4])
    assert later.device is not None and later.device.main.output_names == ["d", "b"]
    assert [name for name, _ in later.sent] == ["x", "b", "d"] and [name for name, _ in later.returned] == ["h"]


def test_nothing_is_left_for_a_side() -> None:
    module = load_model(branchy()).module
    local = cut(module, operations_of(module.main))
    assert local.server is None and local.sent == () and local.returned == ()
    remote = cut(module, [])
    assert remote.device is None and [name for name, _ in remote.sent] == ["x"]


def test_other_forms_of_private_values_are_private() -> None:
    """A scaled input is the input; what a convolution makes of it is not."""
    nodes = [
        node("Mul", "x two", "scaled"),
        node("Transpose", "scaled", "turned", perm=[0, 1, 3, 2]),
        node("Conv", "turned w", "features", pads=[1, 1, 1, 1]),
        node("Relu", "features", "y"),
    ]
    module = load_model(model(nodes, [value("x", (1, 1, 4, 4))], [value("y", (1, 4, 4, 4))], WEIGHTS)).module
    kept = private_values(module.main, module.main.inputs)
    assert {each.name for each in kept} == {"x", "scaled", "turned"}
    costs = dict.fromkeys(operations_of(module.main), 0.001)
    problem = split_problem(module.main, [costs, costs], {}, lambda value: value.tensor_type.bytes, kept)
    allowed = [
        (0,) * near + (1,) * (4 - near) for near in range(5) if is_allowed(problem, (0,) * near + (1,) * (4 - near))
    ]
    assert allowed == [(0, 0, 0, 1), (0, 0, 0, 0)]
