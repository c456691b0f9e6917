"""QuantizeLinear and DequantizeLinear, per tensor, along an axis, or in blocks of an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optc.backends.tvm.lowering.binding import bind
from optc.backends.tvm.lowering.context import LoweringContext, Operands, lowers
from optc.backends.tvm.lowering.elementwise import as_dtype, widened
from optc.backends.tvm.math.functions import const_like
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


def _parameter(operation: Operation, tensor: LogicalTensor, shape: tuple[int, ...]) -> LogicalTensor:
    """A scale or zero point under the indices of the data."""
    axis = int(operation.attributes.get("axis", 1)) % max(1, len(shape))  # type: ignore[arg-type]
    block = int(operation.attributes.get("block_size", 0))  # type: ignore[arg-type]

    def element(*indices: Any) -> PrimExpr:
        if tensor.shape in ((), (1,)):
            return tensor(*(0 for _ in tensor.shape))
        if len(tensor.shape) == 1:
            return tensor(indices[axis])
        return tensor(*indices[:axis], indices[axis] // block, *indices[axis + 1 :])

    return LogicalTensor(shape, tensor.dtype, element)


@lowers("onnx.QuantizeLinear")
def _quantize(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    """Round half to even, add the zero point, saturate."""
    source, scale, zero_point = (*operands, None)[:3]
    assert source is not None and scale is not None
    result = operation.results[0]
    scales = _parameter(operation, scale, source.shape)
    offsets = None if zero_point is None else _parameter(operation, zero_point, source.shape)
    bits = result.dtype.bits
    low, high = (0, 2**bits - 1) if result.dtype.name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def element(*indices: Any) -> PrimExpr:
        from tvm import tirx

        value, divisor = (widened(tensor(*indices)).astype("float32") for tensor in (source, scales))
        if not (isinstance(divisor, tirx.FloatImm) and divisor.value == 1.0):
            value = value / divisor
        rounded = tirx.nearbyint(value)
        if offsets is not None:
            rounded = rounded + offsets(*indices).astype("float32")
        rounded = bind(rounded)
        above = bind(tirx.Select(rounded > const_like(rounded, low), rounded, const_like(rounded, low)))
        limited = bind(tirx.Select(above < const_like(above, high), above, const_like(above, high)))
        return limited.astype("int32").astype(result.dtype.numpy_name)

    return [LogicalTensor(source.shape, result.dtype, element)]


@lowers("onnx.DequantizeLinear")
def _dequantize(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source, scale, zero_point = (*operands, None)[:3]
    assert source is not None and scale is not None
    result = operation.results[0]
    scales = _parameter(operation, scale, source.shape)
    offsets = None if zero_point is None else _parameter(operation, zero_point, source.shape)

    def element(*indices: Any) -> PrimExpr:
        value = source(*indices).astype("int32")
        if offsets is not None:
            value = value - offsets(*indices).astype("int32")
        return as_dtype(value.astype("float32") * widened(scales(*indices)), result.dtype)

    return [LogicalTensor(source.shape, result.dtype, element)]
