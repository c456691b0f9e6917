"""What an operation reads, through its nested graphs too."""

from __future__ import annotations

from optc.ir.core import Operation, Value


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
