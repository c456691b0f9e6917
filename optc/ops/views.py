"""Operations that only rename the axes of a tensor: their result can share the storage of their operand."""

from __future__ import annotations

from optc.ir.core import Operation
from optc.ir.types import TensorType

_VIEWS = frozenset({"onnx.Identity", "onnx.Reshape", "onnx.Flatten", "onnx.Squeeze", "onnx.Unsqueeze", "optc.relayout"})


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

