"""Ordering with fallbacks: the order stays valid, and regions merge where they can."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from optc.driver.program.regions import Region, schedule
from optc.ir.captures import free_values
from optc.ir.core import Graph, Operation, Value
from optc.ir.dtypes import BOOL, FLOAT32
from optc.ir.types import TensorType

TENSOR = TensorType(FLOAT32, (4,))


def add(graph: Graph, name: str, *operands: Value) -> Value:
    return graph.append(Operation(f"onnx.{name}", operands, (TENSOR,))).result


def falls_back(operation: Operation) -> str | None:
    return "no kernel" if operation.name == "onnx.Sin" else None


def names(items: list[Operation | Region]) -> list[object]:
    return [[op.name for op in item.operations] if isinstance(item, Region) else item.name for item in items]


def test_native_operations_run_before_a_region_so_that_regions_merge() -> None:
    graph = Graph("main", [("x", TENSOR)])
    x = graph.inputs[0]
    first = add(graph, "Sin", x)
    native = add(graph, "Relu", x)
    second = add(graph, "Sin", native)
    graph.set_outputs([add(graph, "Add", first, second)])
    assert names(schedule(graph, falls_back)) == ["onnx.Relu", ["onnx.Sin", "onnx.Sin"], "onnx.Add"]


def test_a_native_operation_between_two_fallbacks_splits_them() -> None:
    graph = Graph("main", [("x", TENSOR)])
    graph.set_outputs([add(graph, "Sin", add(graph, "Relu", add(graph, "Sin", graph.inputs[0])))])
    assert names(schedule(graph, falls_back)) == [["onnx.Sin"], "onnx.Relu", ["onnx.Sin"]]


def test_the_region_says_why_its_first_operation_falls_back() -> None:
    graph = Graph("main", [("x", TENSOR)])
    graph.set_outputs([add(graph, "Sin", graph.inputs[0])])
    (region,) = schedule(graph, falls_back)
    assert isinstance(region, Region) and region.reason == "no kernel"


def test_values_captured_by_a_branch_are_free() -> None:
    graph = Graph("main", [("c", TensorType(BOOL, ())), ("x", TENSOR)])
    condition, x = graph.inputs
    captured = add(graph, "Relu", x)
    bodies = {}
    for name in ("then_branch", "else_branch"):
        body = Graph(name)
        body.set_outputs([add(body, "Neg", captured)])
        bodies[name] = body
    branch = graph.append(Operation("onnx.If", (condition,), (TENSOR,), graphs=bodies))
    assert set(free_values(branch)) == {condition, captured}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=25))
def test_every_operation_runs_once_after_what_it_reads(recipe: list[tuple[bool, int, int]]) -> None:
    graph = Graph("main", [("x", TENSOR)])
    values = [graph.inputs[0]]
    for native, left, right in recipe:
        operands = (values[left % len(values)], values[right % len(values)])
        values.append(add(graph, "Add" if native else "Sin", *operands))
    graph.set_outputs([values[-1]])
    order = [
        op for item in schedule(graph, falls_back) for op in (item.operations if isinstance(item, Region) else [item])
    ]
    assert sorted(map(id, order)) == sorted(map(id, graph))
    position = {operation: index for index, operation in enumerate(order)}
    for operation in order:
        for operand in operation.present_operands:
            assert operand.producer is None or position[operand.producer] < position[operation]
