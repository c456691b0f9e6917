"""Results in the place of dying operands: no value is lost, and never more bytes are live."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.ir.core import Graph, Value
from optc.ops.evaluate import evaluate_graph
from optc.ops.views import parts
from optc.passes.memory.in_place import Use, overwrite_dying
from optc.passes.memory.plan import Buffer, live_peak
from optc.passes.memory.storage import Storage, share_storage
from tests.graph_kit import Builder

ROW = 64


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Vectors through Concats, Slices, and element-wise operations of one and of two operands."""
    build = Builder(x=f"{ROW}", y=f"{ROW}")
    values = list(build.graph.inputs)
    for _ in range(draw(st.integers(1, 12))):
        value = draw(st.sampled_from(values))
        kind = draw(st.sampled_from(("Neg", "Neg", "Add", "Add", "Concat", "Slice")))
        alike = [each for each in values if each.shape == value.shape]
        if kind == "Add":
            values.append(build("Add", value, draw(st.sampled_from(alike))))
        elif kind == "Neg":
            values.append(build("Neg", value))
        elif kind == "Concat" and value.shape[0] < 8 * ROW:
            values.append(build("Concat", value, draw(st.sampled_from(values)), axis=0))
        elif kind == "Slice" and value.shape[0] > ROW:
            values.append(build("Slice", value, *map(build.constant, ([0], [ROW], [0], [1]))))
    ends = [value for value in values if value.producer is not None and not value.uses]
    build.graph.set_outputs(ends or values[:1])
    return build.graph


def steps_of(graph: Graph, storage: Storage) -> list[Use]:
    steps = []
    for operation in graph:
        operands, results = operation.present_operands, operation.results
        if operation in storage.copies:
            ends = [end for copy in storage.copies[operation] for end in (copy.source, copy.destination)]
            steps.append(Use(tuple(ends)))
        elif operation.name != "optc.constant":
            pairs = tuple((operand, results[0]) for operand in operands if operand.type == results[0].type)
            steps.append(Use((*operands, *results), pairs))
    return steps


def peak(graph: Graph, storage: Storage, steps: list[Use]) -> int:
    """Live bytes outside of the caller's buffers."""
    outside = {*graph.inputs, *(storage.place(value).root for value in graph.outputs)}
    times: dict[Value, list[int]] = {}
    for time, step in enumerate(steps):
        for value in step.values:
            times.setdefault(storage.place(value).root, []).append(time)
    return live_peak(
        [
            Buffer(min(used), max(used) + 1, root.tensor_type.bytes)
            for root, used in times.items()
            if root not in outside
        ]
    )


def execute(graph: Graph, storage: Storage, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Run a graph in shared buffers, element-wise operations in place where storage says so."""
    buffers: dict[Value, np.ndarray] = {value: array.copy() for value, array in zip(graph.inputs, inputs, strict=True)}

    def held(value: Value) -> np.ndarray:
        place = storage.place(value)
        buffer = buffers.setdefault(place.root, np.full(place.root.tensor_type.elements, np.nan, np.float32))
        return buffer[place.offset // 4 :][: value.tensor_type.elements]

    for operation in graph:
        if operation in storage.copies:
            for copy in storage.copies[operation]:
                count = copy.bytes // 4
                source = held(copy.source)[copy.source_offset // 4 :][:count]
                held(copy.destination)[copy.destination_offset // 4 :][:count] = source
        elif operation.name != "optc.constant":
            operands = [held(value) for value in operation.present_operands]
            result = held(operation.results[0])
            for i in range(len(result)):
                result[i] = -operands[0][i] if operation.name == "onnx.Neg" else operands[0][i] + operands[1][i]
    return [held(value).copy() for value in graph.outputs]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(graphs())
def test_outputs_are_those_of_separate_buffers_and_the_peak_does_not_rise(graph: Graph) -> None:
    storage = share_storage(operation for operation in graph if parts(operation))
    steps = steps_of(graph, storage)
    before = peak(graph, storage, steps)
    overwrite_dying(storage, steps, graph.outputs)
    assert peak(graph, storage, steps) <= before
    inputs = [np.arange(1, ROW + 1, dtype=np.float32), np.linspace(-3, 7, ROW, dtype=np.float32)]
    expected = evaluate_graph(graph, inputs)
    for actual, wanted in zip(execute(graph, storage, inputs), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


def overwritten(build: Builder, *outputs: Value) -> list[tuple[str, str]]:
    build.graph.set_outputs(list(outputs))
    storage = share_storage(operation for operation in build.graph if parts(operation))
    found = overwrite_dying(storage, steps_of(build.graph, storage), build.graph.outputs)
    return [(operand.name, result.name) for operand, result in found]


def test_a_chain_needs_one_buffer() -> None:
    build = Builder(x="64")
    a = build("Neg", build.input("x"), results=("a",))
    b = build("Neg", a, results=("b",))
    c = build("Neg", b, results=("c",))
    assert overwritten(build, c) == [("a", "b"), ("b", "c")]


def test_what_is_read_later_an_input_and_an_output_stay() -> None:
    build = Builder(x="64")
    a = build("Neg", build.input("x"), results=("a",))
    b = build("Neg", a, results=("b",))
    c = build("Add", a, b, results=("c",))
    assert overwritten(build, b, c) == [("a", "c")]


def test_one_of_two_operands_is_overwritten() -> None:
    build = Builder(x="64")
    a = build("Neg", build.input("x"), results=("a",))
    b = build("Neg", build.input("x"), results=("b",))
    c = build("Add", a, b, results=("c",))
    d = build("Neg", c, results=("d",))
    assert overwritten(build, d) == [("a", "c"), ("c", "d")]


def test_an_operand_that_is_read_twice_stays() -> None:
    build = Builder(x="64")
    a = build("Neg", build.input("x"), results=("a",))
    b = build("Add", a, a, results=("b",))
    c = build("Neg", b, results=("c",))
    assert overwritten(build, c) == [("b", "c")]
