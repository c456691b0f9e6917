"""What an operation states about shared storage is what lies in memory, element by element."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.ir.core import Operation, Value
from optc.ir.dtypes import FLOAT32, FLOAT64
from optc.ir.types import PLAIN, Layout, TensorType
from optc.ops.evaluate import evaluate_graph
from optc.ops.views import parts
from tests.graph_kit import Builder

LAYOUTS = (PLAIN, Layout(blocks=((1, 4),)), Layout((0, 2, 1)), Layout((2, 0, 1), ((0, 2),)))


def stored(array: np.ndarray, layout: Layout) -> np.ndarray:
    """The elements in the order of memory, 0 where blocks round up."""
    for axis, factor in layout.blocks:
        widths = [(0, -array.shape[each] % factor if each == axis else 0) for each in range(array.ndim)]
        padded = np.pad(array, widths)
        split = padded.reshape(*padded.shape[:axis], -1, factor, *padded.shape[axis + 1 :])
        array = np.moveaxis(split, axis + 1, -1)
    rank = array.ndim - len(layout.blocks)
    order = [*(layout.permutation or range(rank)), *range(rank, array.ndim)]
    return array.transpose(order).ravel()


@st.composite
def movements(draw: st.DrawFn) -> Operation:
    """A Concat, Split or Slice of small tensors in one layout."""
    shape = [draw(st.sampled_from((1, 1, 2, 4, 8, 12))) for _ in range(3)]
    axis = draw(st.integers(0, 2))
    kind = draw(st.sampled_from(("Concat", "Split", "Slice")))
    build = Builder(x=",".join(map(str, shape)), y=",".join(map(str, shape)))
    x, y = build.graph.inputs
    if kind == "Concat":
        result = build("Concat", *draw(st.permutations((x, y))), axis=axis)
    elif kind == "Split":
        first = draw(st.integers(1, shape[axis]))
        sizes = build.constant([first, shape[axis] - first] if first < shape[axis] else [first])
        result = build("Split", x, sizes, axis=axis, results=("a", "b")[: sizes.shape[0]])
    else:
        begins = [draw(st.integers(-extent, extent - 1)) for extent in shape]
        begins = [draw(st.sampled_from((begin, 0))) for begin in begins]
        ends = [draw(st.integers(begin % extent + 1, extent + 3)) for begin, extent in zip(begins, shape, strict=True)]
        result = build("Slice", x, *map(build.constant, (begins, ends, [0, 1, 2], [1, 1, 1])))
    operation = result.producer
    assert operation is not None
    layout = draw(st.sampled_from(LAYOUTS))
    for value in (x, y, *operation.results):
        value.type = value.tensor_type.with_layout(layout)
    build.graph.set_outputs(operation.results)
    return operation


@settings(max_examples=400, deadline=None, derandomize=True)
@given(movements())
def test_parts_are_ranges_of_their_wholes(operation: Operation) -> None:
    graph = operation.graph
    assert graph is not None
    arrays: dict[Value, np.ndarray] = {}
    for number, value in enumerate(graph.inputs):
        elements = np.arange(value.tensor_type.elements, dtype=np.float32)
        arrays[value] = elements.reshape(value.shape) + 1 + 1000 * number
    arrays.update(zip(graph.outputs, evaluate_graph(graph, list(arrays.values())), strict=True))
    found = parts(operation)
    for part in found:
        whole, held = (stored(arrays[each], each.tensor_type.layout) for each in (part.whole, part.part))
        assert part.offset % 4 == 0
        begin = part.offset // 4
        np.testing.assert_array_equal(whole[begin : begin + held.size], held)
    if found or not all(value.tensor_type.layout.is_plain for value in operation.results):
        return
    (source, *_) = operation.present_operands
    joins = operation.name == "onnx.Concat"
    whole = arrays[operation.results[0] if joins else source].ravel()
    inside = operation.present_operands if joins else operation.results
    places = [np.flatnonzero(np.isin(whole, arrays[each])) for each in inside]
    assert any((np.diff(place) != 1).any() for place in places), "a range of storage was not recognised"


def test_what_changes_elements_or_their_order_shares_nothing() -> None:
    build = Builder(x="1,8,4,4")
    x = build.input("x")
    for result in (
        build("Relu", x),
        build("Transpose", x, perm=(0, 2, 3, 1)),
        build("Slice", x, *map(build.constant, ([0], [8], [1], [2]))),
        build("Slice", x, *map(build.constant, ([-1], [-9], [1], [-1]))),
    ):
        assert result.producer is not None
        assert parts(result.producer) == ()


def test_parts_need_equal_types() -> None:
    build = Builder(x="1,8,4,4")
    result = build("Concat", build.input("x"), build.input("x"), axis=1)
    assert result.producer is not None
    assert [part.offset for part in parts(result.producer)] == [0, 512]
    result.type = TensorType(FLOAT64, result.shape)
    assert parts(result.producer) == ()
    result.type = TensorType(FLOAT32, result.shape, Layout(blocks=((1, 8),)))
    assert parts(result.producer) == ()
