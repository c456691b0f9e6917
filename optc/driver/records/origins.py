"""Where things of the user's model went, as plain data: the model as imported, and what each step computes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from optc.ir.captures import free_values
from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.program import Location

Placed = tuple[Value, Location | None]
"""A value, and where it lies if that is planned."""


def source_record(module: Module) -> list[dict[str, Any]]:
    """The operations of a module: `op`, the user's `nodes`, what each `reads`, and its `results`.

    Constants are left out. Those of a nested graph stand before the operation that holds it, which reads their results.
    """
    return list(_operations(module.main))


def _operations(graph: Graph) -> Iterator[dict[str, Any]]:
    for operation in graph:
        if operation.name == CONSTANT:
            continue
        inner: list[Value] = []
        for nested in operation.graphs.values():
            yield from _operations(nested)
            inner += nested.outputs
        reads = dict.fromkeys(value.name for value in (*free_values(operation), *inner) if not value.is_constant)
        yield {**body_record(operation), "reads": list(reads)}


def step_record(
    operations: Iterable[Operation], body: Iterable[Operation], reads: Iterable[Placed], writes: Iterable[Placed]
) -> dict[str, Any]:
    """What a step computes: the user's `nodes`, the operations of its `body` one by one, what it `reads` and `writes`.

    Args:
        operations: that the step executes; their locations are its `nodes`.
        body: the operations inside them.
        reads: its operands and where they lie; constants are left out of the record.
        writes: its results and where they lie.
    """
    nodes = dict.fromkeys(node for operation in operations for node in operation.location.nodes)
    return {
        "nodes": list(nodes),
        "body": [body_record(operation) for operation in body],
        "reads": [value_record(*each) for each in reads if not each[0].is_constant],
        "writes": [value_record(*each) for each in writes],
    }


def body_record(operation: Operation) -> dict[str, Any]:
    """One operation: `op`, the user's `nodes`, and its `results`."""
    return {
        "op": operation.name,
        "nodes": list(operation.location.nodes),
        "results": [value_record(value) for value in operation.results],
    }


def view_record(operation: Operation) -> dict[str, Any]:
    """An operation whose results and operands share storage: `body_record`, and what it `reads`."""
    reads = [value_record(value) for value in operation.present_operands if not value.is_constant]
    return {**body_record(operation), "reads": reads}


def value_record(value: Value, place: Location | None = None) -> dict[str, Any]:
    """Its `name`, its `type` with the memory layout as the IR's text has it, and its `space`, `offset` and `bytes`."""
    record: dict[str, Any] = {"name": value.name, "type": str(value.type)}
    return record if place is None else {**record, "space": place.space, "offset": place.offset, "bytes": place.bytes}
