"""Reshape and Transpose: chains become one operation, and Flatten, Squeeze and Unsqueeze become Reshape."""

from __future__ import annotations

import math

from optc.ir.core import Operation, Value
from optc.ir.dims import Dim
from optc.ir.types import TensorType
from optc.passes.rewrite import Builder, Miss, on
from optc.passes.rewrite.matching import attribute
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


@on("Reshape")
def drop_axes_before_transpose(op: Builder, operation: Operation) -> Value | None:
    """A Reshape that only drops unit axes behind a Transpose → in front of it, where it can meet other ones."""
    source = operation.operands[0]
    inner = None if source is None else source.producer
    if source is None or inner is None or inner.name != "onnx.Transpose" or source.users != [operation]:
        return None
    perm, shape, result = permutation(inner), shape_of(inner.operands[0]), shape_of(operation.result)
    if perm is None or shape is None or result is None:
        return None
    dropped = _dropped_axes([shape[axis] for axis in perm], list(result))
    if not dropped:
        return None
    kept = [axis for position, axis in enumerate(perm) if position not in dropped]
    order = sorted(kept)
    target = reshape_target(tuple(shape[axis] for axis in order))
    if target is None:
        return None
    return op.Transpose(op.Reshape(inner.operands[0], target), perm=tuple(order.index(axis) for axis in kept))


def _dropped_axes(before: list[Dim], after: list[Dim]) -> set[int]:
    """The unit axes whose removal turns one shape into the other; empty when that is not what happens."""
    dropped: set[int] = set()
    position = 0
    for axis, dim in enumerate(before):
        if position < len(after) and dim == after[position]:
            position += 1
        elif _is_one(dim):
            dropped.add(axis)
        else:
            return set()
    return dropped if position == len(after) else set()


@on("Split")
def unread_parts(op: Builder, operation: Operation) -> list[Value | None] | None:
    """A Split of which a part is not read → a Slice for each part that is."""
    if all(result.uses for result in operation.results):
        return None
    axis = int(attribute(operation, "axis"))
    extents = [(shape_of(result) or (None,))[axis] for result in operation.results]
    if not all(isinstance(extent, int) for extent in extents):
        return None
    parts: list[Value | None] = []
    end = 0
    for result, extent in zip(operation.results, extents, strict=True):
        start, end = end, end + int(extent)  # type: ignore[arg-type]
        parts.append(op.Slice(operation.operands[0], [start], [end], [axis]) if result.uses else None)
    return parts


@on("Slice")
def slice_before_transpose(op: Builder, operation: Operation) -> Value | None:
    """Slices of a Transpose → a Transpose of each Slice, so that no element moves twice and none in vain."""
    source = operation.operands[0]
    inner = None if source is None else source.producer
    if source is None or inner is None or inner.name != "onnx.Transpose":
        return None
    perm, axes = permutation(inner), ints(operation.operand(3))
    slices_only = all(user.name == "onnx.Slice" and user.operands[0] is source for user in source.users)
    if perm is None or axes is None or not slices_only or _moved(source.users) > _moved([inner]):
        return None
    moved = [perm[axis % len(perm)] for axis in axes]
    operands = list(operation.operands)
    operands[0], operands[3] = inner.operands[0], op.value(moved)
    return op.Transpose(op.clone(operation, operands), perm=perm)


def _moved(operations: list[Operation]) -> float:
    """The elements of the results; infinity where they are not known."""
    types = [operation.result.type for operation in operations]
    known = [type for type in types if isinstance(type, TensorType) and type.is_static]
    return sum(type.elements for type in known) if len(known) == len(types) else math.inf


def _is_one(dim: Dim) -> bool:
    return isinstance(dim, int) and dim == 1


RULES = (
    as_reshape,
    merge_reshapes,
    remove_transpose,
    merge_transposes,
    transpose_of_unit_axes,
    unread_parts,
    slice_before_transpose,
    drop_axes_before_transpose,
)
