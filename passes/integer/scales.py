"""QuantizeLinear without a division: its scale goes into the constants of what it rounds.

Division is the slowest thing in the epilogue of an integer kernel. 1/s times what a Mul, an Add, a Relu or a
DequantizeLinear makes is the same operation with other constants; each constant is worked out in double precision and
rounded once. Results differ from those of the division where that lies within an ulp or two of a tie.
"""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.integer.coding import DEQUANTIZE, QUANTIZE, Coding, coding_of
from optc.passes.rewrite import Builder, on
from optc.passes.simplify.facts import read_by
from optc.passes.simplify.rules.arithmetic import bounds, clamp

_DEPTH = 16  # operations between a sum and its QuantizeLinear, at most


def _normal(array: np.ndarray) -> np.ndarray | None:
    """Numbers in single precision; None where one is neither zero nor normal there."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = np.asarray(array, np.float32)
    size = np.abs(narrow)
    fits = np.isfinite(narrow).all() and bool(((size >= np.finfo(np.float32).tiny) | (array == 0)).all())
    return narrow if fits else None


def scaled(op: Builder, value: Value | None, reader: Operation, factor: float, depth: int = _DEPTH) -> Value | None:
    """A value that only `reader` reads, times a positive number, at no cost; None where there would be one."""
    if value is None or depth == 0:
        return None
    if value.constant is not None:
        array = _normal(value.constant.astype(np.float64) * factor)
        return None if array is None else op.constant(array)
    made = value.producer
    if made is None or read_by(value) is not reader:
        return None
    first, second = made.operand(0), made.operand(1)
    if made.name == "onnx.Mul":
        for place, other in ((1, first), (0, second)):
            constant = made.operands[place]
            if constant is not None and constant.is_constant:
                factors = scaled(op, constant, made, factor)
                return None if factors is None else op.Mul(other, factors)
        return None
    if made.name == "onnx.Add":
        left = scaled(op, first, made, factor, depth - 1)
        right = None if left is None else scaled(op, second, made, factor, depth - 1)
        return None if right is None else op.Add(left, right)
    if made.name in ("onnx.Relu", "onnx.LeakyRelu"):
        inner = scaled(op, first, made, factor, depth - 1)
        return None if inner is None else op.clone(made, [inner])
    if made.name == "onnx.Clip":
        limits = bounds(made)
        inner = None if limits is None else scaled(op, first, made, factor, depth - 1)
        if inner is None or limits is None:
            return None
        return clamp(op, inner, limits[0] * factor, limits[1] * factor)
    coding = coding_of(made, DEQUANTIZE)
    if coding is not None and first is not None:
        scale = _normal(coding.scale.astype(np.float64) * factor)
        if scale is not None:
            return Coding(scale, coding.zero, coding.dtype, coding.axis).dequantize(op, first)
    return None


@on("QuantizeLinear")
def quantize_by_one(op: Builder, operation: Operation) -> Value | None:
    """QuantizeLinear(x, s) → QuantizeLinear(x · 1/s, 1), with the factor in what makes x where that takes it."""
    coding, source = coding_of(operation, QUANTIZE), operation.operands[0]
    if coding is None or coding.axis is not None or coding.scale == 1 or source is None:
        return None
    factor = 1.0 / float(coding.scale)
    value = scaled(op, source, operation, factor)
    if value is None:
        inverse = _normal(np.asarray(factor))
        if inverse is None:
            return None
        value = op.Mul(source, inverse)
    return Coding(np.ones((), np.float32), coding.zero, coding.dtype, None).quantize(op, value)


RULES = (quantize_by_one,)
