"""Topological orders in which operations that belong together stand side by side."""

from __future__ import annotations

from collections.abc import Sequence

from optc.ir.core import Graph, Operation, Value


def free_values(operation: Operation) -> list[Value]:
    """The values that an operation reads, those that its nested graphs capture from outside included."""
    inside: set[Value] = set()
    read: dict[Value, None] = {}
    for nested in operation.walk():
        inside.update(nested.results)
        for graph in nested.graphs.values():
            inside.update(graph.inputs)
            read.update(dict.fromkeys(graph.outputs))
        read.update(dict.fromkeys(nested.present_operands))
    return [value for value in read if value not in inside]


def depth_first(operations: Sequence[Operation]) -> list[Operation]:
    """Each operation directly after the last of its producers where that is possible; ties keep the source order."""
    position = {operation: index for index, operation in enumerate(operations)}
    waiting: dict[Operation, int] = {}
    dependents: dict[Operation, list[Operation]] = {operation: [] for operation in operations}
    for operation in operations:
        producers = {value.producer for value in free_values(operation)}
        known = [producer for producer in producers if producer in position and producer is not None]
        waiting[operation] = len(known)
        for producer in known:
            dependents[producer].append(operation)
    order: list[Operation] = []
    stack = [operation for operation in reversed(operations) if not waiting[operation]]
    while stack:
        operation = stack.pop()
        order.append(operation)
        ready = []
        for dependent in dependents[operation]:
            waiting[dependent] -= 1
            if not waiting[dependent]:
                ready.append(dependent)
        stack += sorted(ready, key=lambda each: -position[each])
    return order


def reorder(graph: Graph, order: Sequence[Operation]) -> None:
    """Put operations of a graph in the given order behind those that are not named (constants)."""
    for operation in order:
        graph.unlink(operation)
    for operation in order:
        graph.append(operation)
