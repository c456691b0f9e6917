"""Codes of a few bits, read out of the two bytes that hold each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optc.backends.tvm.lowering.context import LoweringContext, Operands, lowers
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation
from optc.ops.packed import UNPACK
from optc.ops.shapes import integer

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


@lowers(UNPACK)
def _unpack(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    from tvm import tirx

    source, result = operands[0], operation.results[0]
    assert source is not None
    bits, signed = integer(operation, "bits"), bool(integer(operation, "signed"))
    last = source.shape[0] - 1

    def element(*indices: Any) -> PrimExpr:
        place: Any = tirx.const(0, "int32")
        for index, extent in zip(indices, result.shape, strict=True):
            place = place * extent + index
        first = place * bits
        word = source(tirx.floordiv(first, 8)).astype("int32")
        if 8 % bits:
            above = source(tirx.min(tirx.floordiv(first, 8) + 1, tirx.const(last, "int32"))).astype("int32")
            word = tirx.bitwise_or(word, tirx.shift_left(above, tirx.const(8, "int32")))
        code = tirx.shift_right(word, tirx.floormod(first, 8))
        code = tirx.bitwise_and(code, tirx.const(2**bits - 1, "int32"))
        if signed:
            sign = tirx.const(2 ** (bits - 1), "int32")
            code = tirx.bitwise_xor(code, sign) - sign
        return code.astype(result.dtype.numpy_name)

    return [LogicalTensor(result.shape, result.dtype, element)]
