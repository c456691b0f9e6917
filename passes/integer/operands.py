"""ConvInteger and MatMulInteger in one form: unsigned data with a known zero point, signed weights without one."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.integer.unsigned import centered, unsigned
from optc.passes.rewrite import Builder, Miss, on
from optc.passes.simplify.facts import scalar, shape_of


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


RULES = (symmetric_weights, unsigned_data, zero_point_behind)
