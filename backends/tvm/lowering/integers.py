"""Boolean and bitwise operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.backends.tvm.lowering.binding import dtype_of
from optc.backends.tvm.lowering.elementwise import elementwise
from optc.backends.tvm.math.functions import const_like
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


@elementwise("onnx.And")
def _and(_: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.And(x, y)


@elementwise("onnx.Or")
def _or(_: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.Or(x, y)


@elementwise("onnx.Xor")
def _xor(_: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.Or(tirx.And(x, tirx.Not(y)), tirx.And(tirx.Not(x), y))


@elementwise("onnx.Not")
def _not(_: Operation, x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.Not(x)


@elementwise("onnx.BitwiseAnd")
def _bitwise_and(_: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.bitwise_and(x, y)


@elementwise("onnx.BitwiseOr")
def _bitwise_or(_: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.bitwise_or(x, y)


@elementwise("onnx.BitwiseXor")
def _bitwise_xor(_: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.bitwise_xor(x, y)


@elementwise("onnx.BitwiseNot")
def _bitwise_not(_: Operation, x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.bitwise_not(x)


@elementwise("onnx.BitShift")
def _bit_shift(operation: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    """Shifts outside [0, width) empty the word; a right shift then leaves the sign."""
    from tvm import tirx

    dtype = dtype_of(x)
    bits = int("".join(filter(str.isdigit, dtype)))
    inside = y < const_like(y, bits)
    if not dtype.startswith("uint"):
        inside = tirx.And(inside, y >= const_like(y, 0))
    if operation.attributes["direction"] == "LEFT":
        return tirx.Select(inside, tirx.shift_left(x, tirx.Select(inside, y, const_like(y, 0))), const_like(x, 0))
    if dtype.startswith("uint"):
        return tirx.Select(inside, tirx.shift_right(x, tirx.Select(inside, y, const_like(y, 0))), const_like(x, 0))
    return tirx.shift_right(x, tirx.Select(inside, y, const_like(y, bits - 1)))
