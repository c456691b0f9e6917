"""ConvInteger and MatMulInteger in one form: unsigned data with a known zero point, signed weights without one."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.ops.contraction import spatial, spatial_padding
from optc.passes.integer.unsigned import centered, unsigned
from optc.passes.rewrite import Builder, Miss, on
from optc.passes.simplify.facts import scalar, shape_of

_CONV = "onnx.ConvInteger"


@on("ConvInteger", "MatMulInteger")
def symmetric_weights(op: Builder, operation: Operation) -> Value | Miss | None:
    """Constant weights become signed and lose their zero points, where the differences fit."""
    weight, zero = operation.operands[1], operation.operand(3)
    if weight is None or weight.constant is None or (zero is not None and zero.constant is None):
        return None
    zeros = np.zeros((), np.int8) if zero is None or zero.constant is None else zero.constant
    if weight.dtype.name == "i8" and not zeros.any():
        return None if zero is None else op.clone(operation, operation.operands[:3])
    if zeros.size > 1 and operation.name == "onnx.ConvInteger":
        zeros = zeros.reshape(-1, *(1,) * (weight.constant.ndim - 1))
    signed = centered(weight.constant, zeros if zeros.size > 1 else zeros.reshape(()))
    if signed is None:
        return Miss("its weights have zero points, and 8 bits do not hold the differences")
    return op.clone(operation, [operation.operands[0], signed, operation.operand(2)])


@on("ConvInteger", "MatMulInteger")
def unsigned_data(op: Builder, operation: Operation) -> Value | None:
    """Signed data become unsigned ones, with their zero point."""
    data, zero = operation.operands[0], operation.operand(2)
    if data is None or data.dtype.name != "i8" or operation.operand(3) is not None:
        return None
    point = 0 if zero is None else scalar(zero)
    if point is None:
        return None
    codes, shifted = unsigned(op, data, int(point))
    return op.clone(operation, [codes, operation.operands[1], np.asarray(shifted, np.uint8)])


@on("MatMulInteger")
def zero_point_behind(op: Builder, operation: Operation) -> Value | None:
    """(x - z) · W with a z that the run decides → x · W - z · (the sums of W's columns)."""
    weight, zero = operation.operands[1], operation.operand(2)
    if weight is None or weight.constant is None or weight.constant.ndim != 2 or operation.operand(3) is not None:
        return None
    if zero is None or zero.constant is not None or weight.dtype.name != "i8" or shape_of(zero) not in ((), (1,)):
        return None
    known = np.zeros((), zero.dtype.numpy)
    sums = op.clone(operation, [operation.operands[0], weight, known])
    columns = weight.constant.sum(axis=0, dtype=np.int32)
    return op.Sub(sums, op.Mul(op.Cast(zero, to=6), columns))


@on("ConvInteger", "MatMulInteger")
def split_weights(op: Builder, operation: Operation) -> Value | None:
    """x ∘ (W - z) → x ∘ (W - 128) + (128 - z) · (x ∘ 1), where the differences to z need nine bits."""
    weight, zero = operation.operands[1], operation.operand(3)
    if weight is None or weight.constant is None or weight.dtype.name != "u8" or zero is None:
        return None
    whole = operation.attributes.get("group", 1) == 1 and (operation.name == _CONV or weight.constant.ndim == 2)
    if not whole or zero.constant is None or zero.constant.size != 1:
        return None
    if centered(weight.constant, zero.constant.reshape(())) is not None:
        return None
    shape = weight.constant.shape
    ones = np.ones((1, *shape[1:]) if operation.name == _CONV else (shape[0], 1), np.int8)
    data, point = operation.operands[0], operation.operand(2)
    main = op.clone(operation, [data, (weight.constant.astype(np.int16) - 128).astype(np.int8), point])
    sums = op.clone(operation, [data, ones, point])
    return op.Add(main, op.Mul(sums, np.asarray(128 - int(zero.constant.reshape(())), np.int32)))


@on("ConvInteger")
def zero_point_behind_convolution(op: Builder, operation: Operation) -> Value | Miss | None:
    """(x - z) ∗ W with a z that the run decides → x ∗ W - z · (1 ∗ W), whose border sees the taps inside only."""
    data, weight, zero = operation.operands[0], operation.operands[1], operation.operand(2)
    if weight is None or weight.constant is None or weight.dtype.name != "i8" or operation.operand(3) is not None:
        return None
    shape = shape_of(data)
    if zero is None or zero.constant is not None or shape_of(zero) not in ((), (1,)):
        return None
    if shape is None or not all(isinstance(extent, int) for extent in shape):
        return Miss("the extents of its data are known only at run time")
    if operation.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return Miss("its padding is implied")
    known = np.zeros((), zero.dtype.numpy)
    sums = op.clone(operation, [data, weight, known])
    return op.Sub(sums, op.Mul(op.Cast(op.Reshape(zero, []), to=6), _weights_inside(operation, weight.constant)))


def _weights_inside(operation: Operation, weight: np.ndarray) -> np.ndarray:
    """Sums of the weights whose taps lie inside the data: int32 [channels, …], of extent 1 where nothing is padded."""
    assert operation.operands[0] is not None
    extents, taps = operation.operands[0].shape[2:], weight.shape[2:]
    rank = len(taps)
    strides, dilations = spatial(operation, "strides", rank), spatial(operation, "dilations", rank)
    sums = weight.sum(axis=1, dtype=np.int32)
    for axis, (before, after) in enumerate(spatial_padding(operation, rank)):
        reach = dilations[axis] * (taps[axis] - 1) + 1
        count = (extents[axis] + before + after - reach) // strides[axis] + 1
        first = np.arange(count if before or after else 1) * strides[axis] - before
        places = first[:, None] + np.arange(taps[axis]) * dilations[axis]
        inside = ((places >= 0) & (places < extents[axis])).astype(np.int32)
        sums = np.moveaxis(np.tensordot(sums, inside, axes=(1 + axis, 1)), -1, 1 + axis)
    return sums.astype(np.int32)


RULES = (symmetric_weights, split_weights, unsigned_data, zero_point_behind, zero_point_behind_convolution)
