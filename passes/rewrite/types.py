"""Carries a type that became more precise on to the operations that read the value."""

from __future__ import annotations

from collections.abc import Iterable

from optc.errors import ModelError
from optc.ir.core import Operation, Value
from optc.ir.types import OpaqueType, ValueType
from optc.ops.inference import infer_operation


def refined(a: ValueType, b: ValueType) -> ValueType:
    """What is known from two types of the same value. A static dimension wins over a symbolic one, then `a` wins."""
    if isinstance(a, OpaqueType):
        return b
    if isinstance(b, OpaqueType) or b.shape is None:
        return a
    if a.shape is None:
        return a.with_shape(b.shape)
    return a.with_shape(tuple(y if isinstance(y, int) else x for x, y in zip(a.shape, b.shape, strict=True)))


def propagate_types(values: Iterable[Value]) -> list[Operation]:
    """Infer anew what reads `values`, as far as types change; returns the operations whose results changed.

    Raises:
        ModelError: an operation of the main graph does not accept the shapes that are known now.
    """
    changed: dict[Operation, None] = {}
    waiting = [user for value in values for user in value.users]
    while waiting:
        operation = waiting.pop()
        if operation.name == "optc.return":
            parent = operation.graph.parent if operation.graph is not None else None
            if parent is not None and parent.graph is not None:
                waiting.append(parent)
            continue
        try:
            moved = infer_operation(operation)
        except ValueError as error:
            if operation.graph is not None and operation.graph.parent is not None:
                continue  # a branch that cannot run with these shapes may never be taken
            raise ModelError(
                f"{operation.name} does not accept its operands", where=str(operation.location), why=str(error)
            ) from error
        if moved:
            changed[operation] = None
            waiting += [user for result in operation.results for user in result.users]
    return list(changed)
