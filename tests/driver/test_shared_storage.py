"""Artifacts whose Concats, Splits and Slices are parts of buffers compute the right numbers without copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from optc.driver import compile
from optc.program import CopyStep, KernelCall, Program, walk


class Model:
    """An ONNX graph in the making: calls append nodes and return the names of their outputs."""

    def __init__(self, **inputs: tuple[int, ...]) -> None:
        self.inputs = inputs
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: Any, dtype: type = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def __call__(self, kind: str, *inputs: str, results: int = 1, **attributes: Any) -> list[str]:
        names = [f"n{len(self.nodes)}_{index}" for index in range(results)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def conv(self, source: str, out: int, into: int) -> str:
        weights = np.random.default_rng(len(self.nodes)).standard_normal((out, into, 1, 1)) / into**0.5
        return self("Conv", source, self.constant(weights, np.float32))[0]

    def proto(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self.inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return onnx.shape_inference.infer_shapes(model)


def compiled(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> Program:
    """Compile, compare with onnxruntime on random inputs, and return the program."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    inputs = {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    expected = session.run(None, inputs)
    with compile(model, tune=0, threads=1, verify=False, verify_each=True) as artifact:
        found = artifact.run(inputs)
        for node, reference in zip(session.get_outputs(), expected, strict=True):
            np.testing.assert_allclose(found[node.name], reference, rtol=1e-4, atol=1e-4, err_msg=node.name)
        return artifact.program


def written(program: Program) -> list[tuple[str, int, int]]:
    """The ranges of the arena that the last argument of each kernel takes, as (space, begin, end)."""
    calls = [step for step in walk(program.steps) if isinstance(step, KernelCall)]
    places = [call.arguments[-1] for call in calls]
    return [(place.space, place.offset, place.offset + place.bytes) for place in places]


def test_convolutions_write_into_the_concat_that_a_convolution_reads() -> None:
    model = Model(x=(1, 16, 8, 8))
    left = model("Relu", model.conv("x", 8, 16))[0]
    right = model("Relu", model.conv(left, 16, 8))[0]
    joined = model("Concat", left, right, axis=1)[0]
    program = compiled(model.proto(model.conv(joined, 8, 24)), model.inputs)
    calls = [step for step in walk(program.steps) if isinstance(step, KernelCall)]
    assert not [step for step in walk(program.steps) if isinstance(step, CopyStep)]
    whole = next(place for call in calls for place in call.arguments if place.bytes == 24 * 64 * 4)
    ranges = [(begin - whole.offset, end - whole.offset) for _, begin, end in written(program)]
    assert (0, 8 * 64 * 4) in ranges
    assert (8 * 64 * 4, 24 * 64 * 4) in ranges


def test_halves_of_a_split_are_joined_with_more_in_place() -> None:
    model = Model(x=(1, 16, 8, 8))
    first, second = model("Split", model.conv("x", 16, 16), results=2, axis=1, num_outputs=2)
    third = model.conv(second, 8, 8)
    joined = model("Concat", first, second, third, axis=1)[0]
    program = compiled(model.proto(model.conv(joined, 8, 24)), model.inputs)
    assert not [step for step in walk(program.steps) if isinstance(step, CopyStep)]


def test_parts_that_are_outputs_are_copied_out() -> None:
    model = Model(x=(4, 64))
    first, second = model("Split", model("Relu", "x")[0], results=2, axis=0, num_outputs=2)
    joined = model("Concat", second, model("Neg", "x")[0], axis=0)[0]
    compiled(model.proto(first, joined), model.inputs)


def test_slices_at_any_offset_keep_their_numbers() -> None:
    model = Model(x=(3, 7))
    begins = [model.constant([each]) for each in (1, 3, 0)]
    part = model("Slice", model("Relu", "x")[0], *begins)[0]
    compiled(model.proto(part, model("Concat", part, "x", part, axis=0)[0]), model.inputs)


KINDS = ("Relu", "Sigmoid", "Add", "Mul", "Concat", "Concat", "Split", "Slice", "Conv")


@st.composite
def models(draw: st.DrawFn) -> tuple[onnx.ModelProto, dict[str, tuple[int, ...]]]:
    """Feature maps through element-wise operations, convolutions, Concats, Splits and Slices along any axis."""
    rows = draw(st.sampled_from((1, 2)))
    model = Model(x=(rows, 16, 4, 4), y=(rows, 12, 4, 4))
    values = dict(model.inputs)
    for _ in range(draw(st.integers(3, 12))):
        name = draw(st.sampled_from(list(values)))
        shape = values[name]
        axis = draw(st.sampled_from((0, 1, 1, 1, 2)))
        kind = draw(st.sampled_from(KINDS))
        resized = lambda extent: (*shape[:axis], extent, *shape[axis + 1 :])  # noqa: B023, E731
        if kind in ("Add", "Mul"):
            other = draw(st.sampled_from([each for each, held in values.items() if held == shape]))
            values[model(kind, name, other)[0]] = shape
        elif kind == "Concat":
            fitting = [each for each, held in values.items() if (*held[:axis], shape[axis], *held[axis + 1 :]) == shape]
            chosen = [name, *draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=2))]
            extent = sum(values[each][axis] for each in chosen)
            if extent <= 64:
                values[model("Concat", *chosen, axis=axis)[0]] = resized(extent)
        elif kind == "Split" and shape[axis] > 1:
            first = draw(st.sampled_from([each for each in (8, shape[axis] // 2) if each < shape[axis]]))
            sizes = [first, shape[axis] - first]
            names = model("Split", name, model.constant(sizes), results=2, axis=axis)
            values.update(zip(names, map(resized, sizes), strict=True))
        elif kind == "Slice" and shape[axis] > 1:
            begin = draw(st.sampled_from([each for each in (0, 1, 8) if each < shape[axis]]))
            bounds = map(model.constant, ([begin], [shape[axis]], [axis]))
            values[model("Slice", name, *bounds)[0]] = resized(shape[axis] - begin)
        elif kind == "Conv":
            out = draw(st.sampled_from((8, 12, 16)))
            values[model.conv(name, out, shape[1])] = (shape[0], out, *shape[2:])
        elif kind in ("Relu", "Sigmoid"):
            values[model(kind, name)[0]] = shape
    read = {each for node in model.nodes for each in node.input}
    outputs = [each for each in values if each not in read and each not in model.inputs]
    return model.proto(*(outputs or [model("Relu", "x")[0]])), model.inputs


@settings(max_examples=40, deadline=None, derandomize=True)
@given(models())
def test_random_graphs_equal_onnxruntime(case: tuple[onnx.ModelProto, dict[str, tuple[int, ...]]]) -> None:
    compiled(*case)
