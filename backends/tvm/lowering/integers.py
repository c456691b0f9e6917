"""Boolean and bitwise operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from optc.backends.tvm.lowering.binding import dtype_of
from optc.backends.tvm.lowering.elementwise import elementwise
from optc.backends.tvm.math.functions import const_like
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


def _as_byte(x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.Cast("uint8", x)


def _logic(name: str) -> Callable[..., PrimExpr]:
    """A connective on bytes: TVM cannot vectorise those of bools."""

    def formula(_: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
        from tvm import tirx

        return tirx.Cast("bool", getattr(tirx, name)(_as_byte(x), _as_byte(y)))

    return formula


elementwise("onnx.And")(_logic("bitwise_and"))
elementwise("onnx.Or")(_logic("bitwise_or"))
elementwise("onnx.Xor")(_logic("bitwise_xor"))


@elementwise("onnx.Not")
def _not(_: Operation, x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.Cast("bool", tirx.bitwise_xor(_as_byte(x), tirx.const(1, "uint8")))


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
