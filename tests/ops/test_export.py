"""Export to ONNX: onnxruntime runs what comes out and gets the numbers of the reference interpreter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graph_kit import Builder, tensor

from optc.frontends import load_model
from optc.ir.core import Graph, Module, Operation
from optc.ir.types import Layout
from optc.ops.evaluate import evaluate_graph
from optc.ops.inference import make_operation
from optc.ops.onnx_export import to_onnx_model, to_onnx_node


def run(model: onnx.ModelProto | Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if isinstance(model, onnx.ModelProto):
        onnx.checker.check_model(model, full_check=True)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def agree(graph: Graph, *inputs: np.ndarray) -> onnx.ModelProto:
    model = to_onnx_model(graph)
    got = run(model, {value.name: array for value, array in zip(graph.inputs, inputs, strict=True)})
    for array, expected in zip(got.values(), evaluate_graph(graph, inputs), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5)
    return model


X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_names_are_kept_and_made_unique() -> None:
    b = Builder(x="2,3")
    first = b("Relu", b.input("x"), results=["same"])
    second = b("Neg", first, results=["same"])
    b.graph.set_outputs([first, second], ["same", "other"])
    model = agree(b.graph, X)
    assert [value.name for value in model.graph.output] == ["same", "other"]


def test_inputs_constants_and_repeated_values_as_outputs() -> None:
    b = Builder(x="2,3")
    y = b("Relu", b.input("x"))
    b.graph.set_outputs([b.input("x"), y, y, b.constant([1.0, 2.0], np.float32)], ["same", "y", "again", "fixed"])
    model = agree(b.graph, X)
    assert [value.name for value in model.graph.output] == ["same", "y", "again", "fixed"]


def fused_graph() -> Graph:
    """A fused group whose body holds a constant, returns two values and an input as it is."""
    outer = Builder(x="2,3")
    body = Builder(a="2,3")
    body.graph.name = "body"
    scaled = body("Mul", body.input("a"), body.constant(2.0, np.float32), results=["x"])
    body.graph.set_outputs([scaled, body.input("a")])
    fused = make_operation("optc.fused", [outer.input("x")], result_names=["s", "t"], graphs={"body": body.graph})
    outer.graph.append(fused)
    outer.graph.set_outputs([outer("Add", *fused.results)], ["sum"])
    return outer.graph


def test_fused_groups_are_inlined() -> None:
    model = agree(fused_graph(), X)
    assert {node.op_type for node in model.graph.node} == {"Mul", "Identity", "Add"}
    assert {node.domain for node in model.graph.node} == {""}


def test_relayout_is_identity() -> None:
    b = Builder(x="2,3")
    layout = Layout(blocks=((1, 4),))
    relayout = Operation("optc.relayout", [b.input("x")], [tensor("2,3").with_layout(layout)])
    b.graph.append(relayout)
    b.graph.set_outputs([b("Relu", relayout.result)])
    model = agree(b.graph, X)
    assert [node.op_type for node in model.graph.node] == ["Identity", "Relu"]


def test_branches_that_read_around_them() -> None:
    b = Builder(x="2,3")
    branches = {}
    for name, op_type in (("then_branch", "Relu"), ("else_branch", "Neg")):
        branch = Graph(name)
        branch.append(make_operation(f"onnx.{op_type}", [b.input("x")], result_names=["y"]))
        branch.set_outputs([next(iter(branch)).result])
        branches[name] = branch
    choice = make_operation("onnx.If", [b.constant(True, bool)], graphs=branches, result_names=["r"])
    b.graph.append(choice)
    b.graph.set_outputs([choice.result])
    agree(b.graph, X - 2)


def test_unread_optional_results_are_left_out() -> None:
    b = Builder(x="1,2,4,4")
    pool = make_operation("onnx.MaxPool", [b.input("x")], {"kernel_shape": (2, 2)}, result_names=["y", "indices"])
    b.graph.append(pool)
    b.graph.set_outputs([pool.results[0]])
    assert list(to_onnx_model(b.graph).graph.node[0].output) == ["y"]


def test_unread_states_of_a_loop_stay() -> None:
    """onnxruntime crashes where they are absent."""
    source = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        main (float[2] x) => (float[N, 2] y) {
            trip = Constant <value_int = 3> ()
            last, y = Loop (trip, , x) <body = step (int64 i, bool before, float[2] state)
                => (bool after, float[2] next, float[2] kept) {
                after = Identity (before)
                next = Add (state, state)
                kept = Identity (next)
            }>
        }
    """)
    model = to_onnx_model(load_model(source).module.main)
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    assert all(loop.output)
    (found,) = run(model, {"x": X[0, :2]}).values()
    np.testing.assert_array_equal(found, np.outer([2, 4, 8], X[0, :2]))


def test_large_constants_go_to_the_external_file(tmp_path: Path) -> None:
    b = Builder(x="2,3")
    weight = np.random.default_rng(0).normal(size=(3, 200)).astype(np.float32)
    y = b("MatMul", b.input("x"), b.constant(weight, np.float32))
    b.graph.set_outputs([b("Add", y, b.constant(1.0, np.float32))], ["y"])
    model = to_onnx_model(Module(b.graph), external_data=tmp_path / "weights.bin", external_threshold=1000)
    onnx.save(model, tmp_path / "model.onnx")
    assert len(model.SerializeToString()) < 1000
    assert (tmp_path / "weights.bin").stat().st_size == weight.nbytes
    np.testing.assert_allclose(run(tmp_path / "model.onnx", {"x": X})["y"], X @ weight + 1, rtol=1e-5)


def test_one_node() -> None:
    b = Builder(x="1,2,4,4")
    pool = b("AveragePool", b.input("x"), kernel_shape=(2, 2), strides=(2, 2))
    assert pool.producer is not None
    node = to_onnx_node(pool.producer)
    expected = onnx.helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    assert node.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


@pytest.mark.parametrize("threshold", [1, 1 << 20])
def test_the_same_module_gives_the_same_bytes(threshold: int, tmp_path: Path) -> None:
    models = [
        to_onnx_model(fused_graph(), external_data=tmp_path / "w.bin", external_threshold=threshold) for _ in range(2)
    ]
    assert models[0].SerializeToString(deterministic=True) == models[1].SerializeToString(deterministic=True)


def test_an_operation_without_a_current_kernel_is_written_in_an_older_opset() -> None:
    b = Builder(x="1,2,4,4")
    boxes = b.constant([[0, 0, 3, 3]], np.float32)
    y = b("RoiAlign", b.input("x"), boxes, b.constant([0]), output_height=2, output_width=2)
    b.graph.set_outputs([y])
    model = agree(b.graph, np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32))
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 21)]
