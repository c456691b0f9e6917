"""What QuantizeLinear and DequantizeLinear say of their codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.ir.core import Operation, Value
from optc.ir.dtypes import DType
from optc.ops.shapes import normalize_axis
from optc.passes.rewrite import Builder

QUANTIZE = "onnx.QuantizeLinear"
DEQUANTIZE = "onnx.DequantizeLinear"

CODES = frozenset({"u8", "i8", "u4", "i4"})
"""Element types of codes that fit a byte."""

_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class Coding:
    """value = (code - zero) * scale.

    Attributes:
        scale: float32, a scalar or one number for each slice along `axis`; positive and normal.
        zero: int64 of the same shape.
        dtype: of the codes.
        axis: None for one scale.
    """

    scale: np.ndarray
    zero: np.ndarray
    dtype: DType
    axis: int | None

    def equals(self, other: Coding) -> bool:
        """Whether the same code stands for the same value."""
        return (
            (self.dtype, self.axis) == (other.dtype, other.axis)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
        )

    @property
    def least(self) -> int:
        """The smallest code."""
        return 0 if self.dtype.name.startswith("u") else -(2 ** (self.dtype.bits - 1))

    @property
    def largest(self) -> int:
        """The largest code."""
        return self.least + 2**self.dtype.bits - 1

    def operands(self, op: Builder) -> tuple[Value, Value, dict[str, int]]:
        """Scale, zero point and attributes for an operation that speaks of these codes."""
        zero = op.constant(np.asarray(self.zero).astype(self.dtype.numpy))
        return op.constant(np.asarray(self.scale)), zero, {} if self.axis is None else {"axis": self.axis}

    def dequantize(self, op: Builder, codes: Value) -> Value:
        """DequantizeLinear of codes."""
        scale, zero, attributes = self.operands(op)
        return op.DequantizeLinear(codes, scale, zero, **attributes)

    def quantize(self, op: Builder, value: Value) -> Value:
        """QuantizeLinear of a value."""
        scale, zero, attributes = self.operands(op)
        return op.QuantizeLinear(value, scale, zero, **attributes)


def coding_of(operation: Operation | None, name: str) -> Coding | None:
    """The coding of an operation called `name` between f32 and codes, where it is constant and not in blocks."""
    if operation is None or operation.name != name or operation.attributes.get("block_size", 0):
        return None
    source, scale, zero = operation.operands[0], operation.operand(1), operation.operand(2)
    if source is None or scale is None or scale.constant is None or (zero is not None and zero.constant is None):
        return None
    real, codes = (operation.result, source) if name == DEQUANTIZE else (source, operation.result)
    if real.dtype.name != "f32" or scale.dtype.name != "f32":
        return None
    axis = int(operation.attributes.get("axis", 1))  # type: ignore[arg-type]
    return coding(scale.constant, None if zero is None else zero.constant, codes, axis)


def coding(scale: np.ndarray, zero: np.ndarray | None, codes: Value, axis: int = 0) -> Coding | None:
    """The coding of a tensor of codes from constants; None where it is not one that arithmetic on codes is made for."""
    if scale.ndim > 1 or not np.isfinite(scale).all() or (scale < _SMALLEST).any():
        return None
    zeros = np.zeros(scale.shape, np.int64) if zero is None else np.asarray(zero).astype(np.int64)
    if scale.size == 1:
        return Coding(scale.reshape(()), zeros.reshape(()), codes.dtype, None)
    rank = codes.tensor_type.rank
    if rank is None:
        return None
    zeros = np.broadcast_to(zeros.reshape(-1) if zeros.size > 1 else zeros.reshape(()), scale.shape)
    return Coding(scale, zeros, codes.dtype, normalize_axis(axis, rank))


def dequantized(value: Value | None) -> tuple[Value, Coding] | None:
    """The codes behind a value and their coding, where it is the result of DequantizeLinear."""
    producer = None if value is None else value.producer
    found = coding_of(producer, DEQUANTIZE)
    if found is None or producer is None or producer.operands[0] is None:
        return None
    return producer.operands[0], found
