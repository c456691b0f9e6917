"""Convolutions and matrix products of dequantized data with dequantized constant weights, in integer arithmetic.

    DequantizeLinear(x) * DequantizeLinear(w) + b = (sum of (x - zx) * w) * (sx * sw) + b

as in Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(2018), section 2.2. The sum is exact in 32 bits; it is rounded once when it becomes a float, where the model in floats
rounds after every product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optc.ir.core import Operation, Value
from optc.ops.hints import weight_hints
from optc.passes.integer.coding import CODES, DEQUANTIZE, dequantized
from optc.passes.integer.unsigned import centered, unsigned
from optc.passes.rewrite import Builder, Miss
from optc.passes.simplify.facts import shape_of

_FLOAT = 1  # ONNX's code of f32
_LARGEST_SUM = 2**31 - 1


@dataclass(frozen=True)
class IntegerForm:
    """What a contraction is in integers.

    Attributes:
        operation: the contraction of reals.
        codes: of the data.
        zero: of the data, for unsigned codes.
        weight: int8, symmetric.
        factor: float32, a scalar or one number for each output channel: what one of the sum stands for.
        channel_axis: of the result, counted from the end.
    """

    operation: Operation
    codes: Value
    zero: int
    weight: np.ndarray
    factor: np.ndarray
    channel_axis: int

    def build(self, op: Builder) -> Value:
        """The integer contraction, its sums as reals, and the bias."""
        codes, zero = unsigned(op, self.codes, self.zero)
        kind = f"{self.operation.name}Integer"
        zero_point = np.asarray(zero, np.uint8)
        attributes = {**self.operation.attributes, **weight_hints(self.weight)}
        sums = op.call(kind, [codes, self.weight, zero_point], attributes)
        value = op.Mul(op.Cast(sums, to=_FLOAT), self._along(self.factor))
        bias = self.operation.operand(2)
        if bias is None:
            return value
        known = bias.constant
        if known is None:
            assert bias.producer is not None
            known = constant_reals(bias.producer)
        assert known is not None
        return op.Add(value, self._along(known))

    def _along(self, numbers: np.ndarray) -> np.ndarray:
        if numbers.size == 1:
            return numbers.reshape(())
        if (numbers == numbers.reshape(-1)[0]).all():
            return numbers.reshape(-1)[0].reshape(())
        return numbers.reshape(-1, *(1,) * (-1 - self.channel_axis))


def constant_reals(operation: Operation) -> np.ndarray | None:
    """What DequantizeLinear makes of constants, float32; None where it is not one of constants, or not of f32."""
    if operation.name != DEQUANTIZE or operation.result.dtype.name != "f32":
        return None
    arrays = [None if value is None else value.constant for value in operation.operands]
    if any(value is not None and array is None for value, array in zip(operation.operands, arrays, strict=True)):
        return None
    codes, scale, zero = (*arrays, None)[:3]
    assert codes is not None and scale is not None
    scales = _spread(scale, operation, codes)
    offset = codes.astype(np.int64) - (0 if zero is None else _spread(zero, operation, codes).astype(np.int64))
    # One rounding of the difference, one of the product, as where it is done when the model runs.
    return np.asarray(offset.astype(np.float32) * scales.astype(np.float32))


def _spread(numbers: np.ndarray, operation: Operation, codes: np.ndarray) -> np.ndarray:
    """Scales or zero points in a shape that broadcasts over the codes."""
    if numbers.size == 1:
        return numbers.reshape(())
    axis = int(operation.attributes.get("axis", 1)) % codes.ndim  # type: ignore[arg-type]
    block = int(operation.attributes.get("block_size", 0))  # type: ignore[arg-type]
    if block:
        return np.repeat(numbers, block, axis=axis)[tuple(slice(extent) for extent in codes.shape)]
    shape = [1] * codes.ndim
    shape[axis] = -1
    return numbers.reshape(shape)


def integer_form(operation: Operation) -> IntegerForm | Miss | None:
    """How a Conv or MatMul of reals is one of integers; None where its operands are not codes, else why not."""
    kind = _KINDS.get(operation.name)
    data, weights = dequantized(operation.operand(0)), dequantized(operation.operand(1))
    if kind is None or data is None or weights is None:
        return None
    codes, coding = data
    held, scales = weights
    if coding.dtype.name not in ("u8", "i8"):
        return Miss(f"its data have {coding.dtype.bits} bits")
    if coding.axis is not None:
        return Miss("its data have a scale for each slice")
    if held.constant is None or scales.dtype.name not in CODES:
        return Miss("its weights are no constants of 8 bits") if held.constant is None else None
    rank = held.tensor_type.rank or 0
    axis, channel_axis = kind(rank, len(shape_of(operation.operand(0)) or ()))
    if axis is None:
        return Miss("it is no product with a matrix")
    if scales.axis not in (None, axis):
        return Miss("its weights have scales along an axis that is summed over")
    bias = operation.operand(2)
    if bias is not None and bias.constant is None and (bias.producer is None or constant_reals(bias.producer) is None):
        return Miss("its bias is known only at run time")
    shape = [1] * rank
    shape[axis] = -1
    weight = centered(held.constant, scales.zero if scales.zero.ndim == 0 else scales.zero.reshape(shape))
    if weight is None:
        return Miss("its weights have zero points, and 8 bits do not hold the differences")
    others = tuple(each for each in range(rank) if each != axis)
    zero = int(coding.zero) + (128 if coding.dtype.name == "i8" else 0)
    reach = int(np.abs(weight.astype(np.int64)).sum(axis=others).max(initial=0)) * max(zero, 255 - zero)
    if reach > _LARGEST_SUM:
        return Miss("its sums do not fit into 32 bits")
    factor = np.asarray(coding.scale.astype(np.float64) * scales.scale.astype(np.float64), np.float32)
    if (factor < np.finfo(np.float32).tiny).any():
        return Miss("the product of its scales is no normal number")
    return IntegerForm(operation, codes, int(coding.zero), weight, factor, channel_axis)


Axes = Callable[[int, int], "tuple[int | None, int]"]
"""From the ranks of weights and data to the channel axes of weights and result; the second counts from the end."""


def _conv(rank: int, data: int) -> tuple[int | None, int]:
    return (0 if rank > 2 else None), 1 - rank


def _matmul(rank: int, data: int) -> tuple[int | None, int]:
    return (1 if rank == 2 and data >= 2 else None), -1


_KINDS: dict[str, Axes] = {"onnx.Conv": _conv, "onnx.MatMul": _matmul}
