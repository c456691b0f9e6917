"""Quantize and dequantize, per tensor, per axis or per block."""

from __future__ import annotations

from collections.abc import Sequence

from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Kind, declare
from optc.ops.elementwise import per_element
from optc.ops.onnx_types import dtype_from_code
from optc.ops.shapes import describe, integer, normalize_axis, tensor


def _check_parameters(operation: Operation) -> None:
    """A scale is a scalar, or has one entry for each slice along `axis`; the zero point has its shape."""
    data, scale = tensor(operation, 0), tensor(operation, 1)
    if operation.operand(2) is not None:
        zero_point = tensor(operation, 2)
        shapes = {() if shape == (1,) else shape for shape in (scale.shape, zero_point.shape) if shape is not None}
        if len({len(shape) for shape in shapes}) > 1:
            raise ValueError(
                f"the scale has the shape {describe(scale.shape)} and the zero point {describe(zero_point.shape)}"
            )
    if data.shape is None or scale.shape is None or len(scale.shape) != 1 or scale.shape == (1,):
        return
    axis = normalize_axis(integer(operation, "axis", 1), len(data.shape))
    extent, entries = data.shape[axis], scale.shape[0]
    if isinstance(extent, int) and isinstance(entries, int) and extent != entries:
        raise ValueError(f"the scale has {entries} entries where axis {axis} of {describe(data.shape)} has {extent}")


def _infer_quantize(operation: Operation) -> Sequence[ValueType]:
    _check_parameters(operation)
    dtype = dtypes.UINT8
    if operation.operand(2) is not None:
        dtype = tensor(operation, 2).dtype
    elif code := integer(operation, "output_dtype"):
        dtype = dtype_from_code(code)
    return (TensorType(dtype, tensor(operation, 0).shape),)


def _infer_dequantize(operation: Operation) -> Sequence[ValueType]:
    _check_parameters(operation)
    code = integer(operation, "output_dtype")
    dtype = dtype_from_code(code) if code else tensor(operation, 1).dtype
    return (TensorType(dtype, tensor(operation, 0).shape),)


def _infer_dynamic(operation: Operation) -> Sequence[ValueType]:
    shape = tensor(operation, 0).shape
    return (TensorType(dtypes.UINT8, shape), TensorType(dtypes.FLOAT32, ()), TensorType(dtypes.UINT8, ()))


# Divide, round, add, two comparisons to saturate; subtract, multiply.
declare("onnx.QuantizeLinear", Kind.ELEMENTWISE, infer=_infer_quantize, flops=per_element(5))
declare("onnx.DequantizeLinear", Kind.ELEMENTWISE, infer=_infer_dequantize, flops=per_element(2))
declare("onnx.DynamicQuantizeLinear", Kind.REDUCTION, infer=_infer_dynamic, flops=per_element(7))
