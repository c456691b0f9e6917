"""Reshape and Transpose: chains become one operation, and Flatten, Squeeze and Unsqueeze become Reshape."""

from __future__ import annotations

from optc.ir.core import Operation, Value
from optc.ir.dims import Dim
from optc.passes.rewrite import Builder, Miss, on
from optc.passes.simplify.facts import ints, reshape_target, shape_of

_RESHAPES = ("onnx.Reshape", "onnx.Flatten", "onnx.Squeeze", "onnx.Unsqueeze")


@on("Flatten", "Squeeze", "Unsqueeze")
def as_reshape(op: Builder, operation: Operation) -> Value | Miss | None:
    """Flatten, Squeeze and Unsqueeze say less than a Reshape to the shape they give."""
    target = reshape_target(shape_of(operation.result))
    if target is None:
        return Miss(f"the shape of its result is {operation.result.type}")
    return op.Reshape(operation.operands[0], target)


@on("Reshape")
def merge_reshapes(op: Builder, operation: Operation) -> Value | Miss | None:
    """Reshape∘Reshape; the inner one stays if others read it."""
    inner = operation.operands[0].producer if operation.operands[0] is not None else None
    if inner is None or inner.name not in _RESHAPES:
        return None
    target = reshape_target(shape_of(operation.result))
    if target is None:
        given = ints(operation.operand(1))
        if given is None or 0 in given:
            return Miss(f"the shape of its result is {operation.result.type}")
        target = list(given)
    return op.Reshape(inner.operands[0], target)


def permutation(operation: Operation) -> tuple[int, ...] | None:
    """The `perm` of a Transpose; None where it is left out and the rank is not known."""
    given = operation.attributes.get("perm")
    if given is not None:
        return tuple(given)  # type: ignore[arg-type]
    shape = shape_of(operation.operands[0])
    return None if shape is None else tuple(reversed(range(len(shape))))


@on("Transpose")
def remove_transpose(op: Builder, operation: Operation) -> Value | None:
    perm = permutation(operation)
    return operation.operands[0] if perm is not None and perm == tuple(range(len(perm))) else None


@on("Transpose")
def merge_transposes(op: Builder, operation: Operation) -> Value | None:
    """Transpose∘Transpose; the inner one stays if others read it."""
    inner = operation.operands[0].producer if operation.operands[0] is not None else None
    if inner is None or inner.name != "onnx.Transpose":
        return None
    first, second = permutation(inner), permutation(operation)
    if first is None or second is None:
        return None
    return op.Transpose(inner.operands[0], perm=tuple(first[axis] for axis in second))


@on("Transpose")
def transpose_of_unit_axes(op: Builder, operation: Operation) -> Value | None:
    """A Transpose that keeps the order of all axes longer than one is a Reshape."""
    perm, shape = permutation(operation), shape_of(operation.operands[0])
    target = reshape_target(shape_of(operation.result))
    if perm is None or shape is None or target is None:
        return None
    long = [axis for axis in perm if not _is_one(shape[axis])]
    return op.Reshape(operation.operands[0], target) if long == sorted(long) else None


def _is_one(dim: Dim) -> bool:
    return isinstance(dim, int) and dim == 1


RULES = (as_reshape, merge_reshapes, remove_transpose, merge_transposes, transpose_of_unit_axes)
