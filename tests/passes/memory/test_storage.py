"""Shared storage: every value keeps its elements until the end, and copies happen only where they must."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.ir.core import CONSTANT, Graph, Value
from optc.ops.evaluate import evaluate_graph
from optc.ops.views import parts
from optc.passes.memory.storage import Storage, share_storage
from tests.graph_kit import Builder

ROW = 64  # floats: a part of whole rows is aligned


def sharing(graph: Graph) -> Storage:
    return share_storage(operation for operation in graph if parts(operation))


def copied(storage: Storage) -> list[str]:
    return [copy.part.name for copies in storage.copies.values() for copy in copies]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Vectors through Concats, Splits, Slices, reshapes and element-wise operations, aligned or not."""
    build = Builder(x=f"{2 * ROW}", y="40")
    values = [*build.graph.inputs, build.constant(np.arange(ROW), np.float32)]
    for _ in range(draw(st.integers(1, 10))):
        value = draw(st.sampled_from(values))
        extent = value.shape[0]
        kind = draw(st.sampled_from(("Relu", "Neg", "Concat", "Concat", "Split", "Slice", "Identity")))
        if kind == "Concat":
            others = [draw(st.sampled_from(values)) for _ in range(draw(st.integers(1, 3)))]
            if sum(each.shape[0] for each in others) < 40 * ROW:
                values.append(build("Concat", value, *others, axis=0))
        elif kind == "Split" and extent > 1:
            first = draw(st.sampled_from([each for each in (ROW, extent // 2, 16) if each < extent]))
            build("Split", value, build.constant([first, extent - first]), axis=0, results=("a", "b"))
            values += [*build.graph][-1].results
        elif kind == "Slice":
            begin = draw(st.sampled_from([each for each in (0, 16, 7, ROW) if each < extent]))
            values.append(build("Slice", value, *map(build.constant, ([begin], [extent], [0], [1]))))
        elif kind in ("Relu", "Neg", "Identity"):
            values.append(build(kind, value))
    build.graph.set_outputs([value for value in values if value.producer is not None and not value.uses] or values[:1])
    return build.graph


def execute(graph: Graph, storage: Storage, inputs: list[np.ndarray]) -> dict[Value, np.ndarray]:
    """Run a graph in shared buffers; what every value holds in the end."""
    buffers: dict[Value, np.ndarray] = dict(zip(graph.inputs, inputs, strict=True))

    def held(value: Value) -> np.ndarray:
        place = storage.place(value)
        buffer = buffers.setdefault(place.root, np.full(place.root.tensor_type.elements, np.nan, np.float32))
        return buffer[place.offset // 4 :][: value.tensor_type.elements]

    for operation in graph:
        if operation.name == CONSTANT:
            array = operation.result.constant
            assert array is not None
            buffers[operation.result] = array.astype(np.float32)
        elif operation in storage.copies:
            for copy in storage.copies[operation]:
                count = copy.bytes // 4
                source = held(copy.source)[copy.source_offset // 4 :][:count]
                held(copy.destination)[copy.destination_offset // 4 :][:count] = source
        else:
            operand = held(operation.present_operands[0])
            held(operation.result)[:] = np.maximum(operand, 0) if operation.name == "onnx.Relu" else -operand
    values = [result for operation in graph for result in operation.results if result.dtype.is_float]
    return {value: held(value).copy() for value in values}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(graphs())
def test_every_value_keeps_its_elements(graph: Graph) -> None:
    generator = np.random.default_rng(0)
    inputs = [generator.standard_normal(value.shape, dtype=np.float32) for value in graph.inputs]
    storage = sharing(graph)
    found = execute(graph, storage, [array.copy() for array in inputs])
    outputs = graph.outputs
    graph.set_outputs(list(found))
    for value, expected in zip(found, evaluate_graph(graph, inputs), strict=True):
        np.testing.assert_array_equal(found[value], expected, err_msg=value.name)
        place = storage.place(value)
        assert place.offset % 64 == 0
        assert place.offset + value.tensor_type.bytes <= place.root.tensor_type.bytes
    graph.set_outputs(outputs)


def test_producers_write_into_a_concat_of_concats() -> None:
    build = Builder(x=f"{ROW}")
    x = build.input("x")
    a, b, c = (build(kind, x, results=(kind,)) for kind in ("Relu", "Neg", "Abs"))
    outer = build("Concat", c, build("Concat", a, b, axis=0, results=("inner",)), axis=0)
    storage = sharing(build.graph)
    assert copied(storage) == []
    assert [storage.place(value).offset // 256 for value in (c, a, b)] == [0, 1, 2]
    assert all(storage.place(value).root is outer for value in (a, b, c))


def test_growing_concats_share_the_longest() -> None:
    build = Builder(x=f"{ROW}")
    grown = build("Relu", build.input("x"))
    for _ in range(4):
        grown = build("Concat", grown, build("Neg", build.input("x")), axis=0)
    assert copied(sharing(build.graph)) == []


def test_split_halves_that_are_joined_with_more_stay_where_they_are() -> None:
    build = Builder(x=f"{2 * ROW}")
    source = build("Relu", build.input("x"))
    build("Split", source, build.constant([ROW, ROW]), axis=0, results=("a", "b"))
    a, b = [*build.graph][-1].results
    joined = build("Concat", a, b, build("Neg", b), axis=0)
    storage = sharing(build.graph)
    assert copied(storage) == []
    assert storage.place(source).root is joined


def test_swapped_halves_are_copied() -> None:
    build = Builder(x=f"{2 * ROW}")
    source = build("Relu", build.input("x"))
    build("Split", source, build.constant([ROW, ROW]), axis=0, results=("a", "b"))
    a, b = [*build.graph][-1].results
    build("Concat", b, a, axis=0)
    assert copied(sharing(build.graph)) == ["b", "a"]


def test_inputs_constants_repetitions_and_unaligned_parts_are_copied() -> None:
    build = Builder(x=f"{ROW}", y="3")
    x, y = build.graph.inputs
    value = build("Relu", x, results=("value",))
    small = build("Relu", y, results=("small",))
    late = build("Neg", x, results=("late",))
    weights = build.constant(np.zeros(ROW), np.float32)
    build("Concat", value, value, x, weights, small, late, axis=0)
    assert copied(sharing(build.graph)) == ["value", "x", weights.name, "late"]


def test_a_value_of_two_concats_is_placed_in_the_first() -> None:
    build = Builder(x=f"{ROW}")
    x = build.input("x")
    a, b = build("Relu", x, results=("a",)), build("Neg", x, results=("b",))
    build("Concat", a, b, axis=0)
    build("Concat", b, a, axis=0)
    assert copied(sharing(build.graph)) == ["b", "a"]
