"""Operations that move nothing: their results lie inside their operands, or their operands inside their result."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optc.ir.core import Operation, Value
from optc.ir.types import TensorType
from optc.ops.shapes import normalize_axis
from optc.ops.values import ints_of

_VIEWS = frozenset({"onnx.Identity", "onnx.Reshape", "onnx.Flatten", "onnx.Squeeze", "onnx.Unsqueeze", "optc.relayout"})


@dataclass(frozen=True)
class Part:
    """The bytes of `part` are those of `whole` that begin at `offset`."""

    part: Value
    whole: Value
    offset: int


def parts(operation: Operation) -> tuple[Part, ...]:
    """How the storage of an operation's operands and results overlaps, when the operation only moves whole ranges.

    Returns:
        one part for each result that is a range of the first operand's bytes, or for each operand that is a range of
        the only result's; empty where any of them is not, or is not static.
    """
    if is_view(operation):
        (source, *_) = operation.present_operands
        return (Part(operation.results[0], source, 0),)
    boxes = _BOXES.get(operation.name)
    if boxes is None or not _all_static(operation):
        return ()
    found = []
    for part, whole, starts in boxes(operation):
        offset = _offset_of(part.tensor_type, whole.tensor_type, starts)
        if offset is None:
            return ()
        found.append(Part(part, whole, offset))
    return tuple(found)


def is_view(operation: Operation) -> bool:
    """Whether the bytes of the result equal those of the first operand: same elements, in the same order."""
    if operation.name not in _VIEWS:
        return False
    source, result = operation.operands[0], operation.results[0]
    if source is None or not isinstance(source.type, TensorType) or not isinstance(result.type, TensorType):
        return False
    if not (source.type.is_static and result.type.is_static and source.type.dtype == result.type.dtype):
        return False
    if source.type.shape == result.type.shape:
        return source.type.layout == result.type.layout or _stored_order(source.type) == _stored_order(result.type)
    return source.type.layout.is_plain and result.type.layout.is_plain


def _stored_order(type: TensorType) -> tuple[tuple[int, ...], int]:
    """The logical axes in the order in which memory steps through them, and the bytes.

    Axes of one element are left out, and the blocks of an axis directly behind the axis itself count as one with it:
    a 1x64x1x1 tensor in channel blocks lies in memory as a plain one does.
    """
    layout, rank = type.layout, len(type.static_shape)
    axes = [*(layout.permutation or range(rank)), *(axis for axis, _ in layout.blocks)]
    order: list[int] = []
    for axis, extent in zip(axes, type.stored_shape, strict=True):
        if extent > 1 and (not order or order[-1] != axis):
            order.append(axis)
    return tuple(order), type.bytes


def _all_static(operation: Operation) -> bool:
    values = (*operation.present_operands, *operation.results)
    return all(isinstance(value.type, TensorType) and value.type.is_static and value.dtype.bits for value in values)


# A box of a tensor: the value that holds its elements, the tensor, and where along each axis it begins.
_Box = tuple[Value, Value, Sequence[int]]


def _concat_boxes(operation: Operation) -> list[_Box]:
    result = operation.result
    axis = normalize_axis(int(operation.attributes["axis"]), len(result.shape))  # type: ignore[arg-type]
    starts = [0] * len(result.shape)
    boxes: list[_Box] = []
    for operand in operation.present_operands:
        boxes.append((operand, result, tuple(starts)))
        starts[axis] += operand.shape[axis]
    return boxes


def _split_boxes(operation: Operation) -> list[_Box]:
    source = operation.present_operands[0]
    axis = normalize_axis(int(operation.attributes.get("axis", 0)), len(source.shape))  # type: ignore[arg-type]
    starts = [0] * len(source.shape)
    boxes: list[_Box] = []
    for result in operation.results:
        boxes.append((result, source, tuple(starts)))
        starts[axis] += result.shape[axis]
    return boxes


def _slice_boxes(operation: Operation) -> list[_Box]:
    source, result = operation.present_operands[0], operation.result
    begins = ints_of(operation.operand(1))
    axes = list(range(len(begins or ()))) if operation.operand(3) is None else ints_of(operation.operand(3))
    steps = [1] * len(begins or ()) if operation.operand(4) is None else ints_of(operation.operand(4))
    if begins is None or axes is None or steps is None or any(step != 1 for step in steps):
        return [(result, source, ())]
    starts = [0] * len(source.shape)
    for begin, axis in zip(begins, axes, strict=True):
        extent = source.shape[axis]
        starts[axis] = min(max(begin + extent if begin < 0 else begin, 0), extent)
    return [(result, source, starts)]


_BOXES: dict[str, Callable[[Operation], list[_Box]]] = {
    "onnx.Concat": _concat_boxes,
    "onnx.Split": _split_boxes,
    "onnx.Slice": _slice_boxes,
}


def _offset_of(box: TensorType, whole: TensorType, starts: Sequence[int]) -> int | None:
    """Where the bytes of a box begin in those of a tensor; None where they are not contiguous there.

    In the order in which memory steps through the axes a contiguous box has single elements first, then one range,
    then full axes. A blocked axis must be cut between blocks; only at its end may a block be incomplete.
    """
    rank = len(whole.static_shape)
    if box.layout != whole.layout or len(starts) != rank or not box.elements or box.dtype != whole.dtype:
        return None
    factors = [1] * rank
    for axis, factor in whole.layout.blocks:
        factors[axis] *= factor
    for axis, start in enumerate(starts):
        end = start + box.static_shape[axis]
        if start % factors[axis] or (end % factors[axis] and end != whole.static_shape[axis]):
            return None
    stored = whole.stored_shape
    held = box.stored_shape
    first = [starts[axis] // factors[axis] for axis in whole.layout.permutation or range(rank)]
    first += [0] * len(whole.layout.blocks)
    narrowed = False  # whether the box takes less than all of an axis further inside
    offset = 0
    for position in reversed(range(len(stored))):
        if narrowed and held[position] > 1:
            return None
        narrowed = narrowed or held[position] < stored[position]
        offset += first[position] * math.prod(stored[position + 1 :])
    return offset * whole.dtype.bytes
