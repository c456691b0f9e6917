"""Operations on codes that carry their scales as operands → DequantizeLinear, the operation on reals, QuantizeLinear.

One form for what ONNX calls QLinearConv and onnxruntime's own operations (domain `com.microsoft`), so that one set of
rules serves both ways to write a quantized model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.integer.coding import Coding, coding
from optc.passes.rewrite import Builder, Miss, on
from optc.passes.simplify.facts import shape_of

_UNKNOWN = Miss("a scale or zero point is known only at run time")


def _coding(codes: Value | None, scale: Value | None, zero: Value | None, axis: int = 0) -> Coding | None:
    if codes is None or scale is None or scale.constant is None or (zero is not None and zero.constant is None):
        return None
    if scale.dtype.name != "f32":
        return None
    return coding(scale.constant, None if zero is None else zero.constant, codes, axis)


def _real(op: Builder, operation: Operation, position: int, axis: int = 0) -> Value | None:
    """The reals behind three operands in a row: codes, scale and zero point."""
    codes, scale, zero = (operation.operand(position + i) for i in range(3))
    found = _coding(codes, scale, zero, axis)
    return None if found is None or codes is None else found.dequantize(op, codes)


def _result(operation: Operation, position: int) -> Coding | None:
    """The coding of the result by its scale and zero point."""
    return _coding(operation.result, operation.operand(position), operation.operand(position + 1))


def _bias_coding(operation: Operation, bias: Value, alpha: float = 1.0) -> Coding | None:
    """The coding of 32-bit biases: the product of the scales of data and weights."""
    arrays = [None if value is None else value.constant for value in (operation.operand(1), operation.operand(4))]
    if arrays[0] is None or arrays[1] is None or arrays[0].size != 1:
        return None
    return coding(np.asarray(np.float32(alpha) * arrays[0].reshape(()) * arrays[1], np.float32), None, bias)


def _attributes(operation: Operation, without: Sequence[str] = ()) -> dict[str, Any]:
    return {name: value for name, value in operation.attributes.items() if name not in without}


@on("QLinearConv")
def convolution_of_codes(op: Builder, operation: Operation) -> Value | Miss:
    """QLinearConv → Conv; the bias counts in the product of the scales of data and weights."""
    data, weight, result = _real(op, operation, 0), _real(op, operation, 3), _result(operation, 6)
    if data is None or weight is None or result is None:
        return _UNKNOWN
    bias = operation.operand(8)
    if bias is not None:
        found = _bias_coding(operation, bias)
        if found is None:
            return Miss("the scale of the bias is no normal number")
        bias = op.DequantizeLinear(bias, op.constant(found.scale), None, axis=None if found.axis is None else 0)
    return result.quantize(op, op.Conv(data, weight, bias, **_attributes(operation)))


@on("QLinearMatMul")
def product_of_codes(op: Builder, operation: Operation) -> Value | Miss:
    """QLinearMatMul → MatMul; scales of the right matrix may differ by column, those of the left one not by row."""
    left = operation.operand(1)
    if left is not None and (shape_of(left) or (1,)) not in ((1,), ()):
        return Miss("its left matrix has a scale for each row")
    shape = shape_of(operation.operand(3)) or ()
    data, weight = _real(op, operation, 0), _real(op, operation, 3, len(shape) - 1)
    result = _result(operation, 6)
    if data is None or weight is None or result is None:
        return _UNKNOWN
    return result.quantize(op, op.MatMul(data, weight))


@on("com.microsoft.QGemm")
def gemm_of_codes(op: Builder, operation: Operation) -> Value | Miss:
    """QGemm → Gemm; without a result scale the result is real."""
    transposed = operation.attributes.get("transB", 0)
    data, weight = _real(op, operation, 0), _real(op, operation, 3, 0 if transposed else 1)
    result = None if operation.operand(7) is None else _result(operation, 7)
    if data is None or weight is None or (operation.operand(7) is not None and result is None):
        return _UNKNOWN
    bias = operation.operand(6)
    if bias is not None:
        found = _bias_coding(operation, bias, float(operation.attributes.get("alpha", 1.0)))  # type: ignore[arg-type]
        if found is None:
            return Miss("the scale of the bias is no normal number")
        bias = op.DequantizeLinear(bias, op.constant(found.scale), None, axis=None if found.axis is None else 0)
    value = op.Gemm(data, weight, bias, **_attributes(operation))
    return value if result is None else result.quantize(op, value)


def _pooled(op: Builder, value: Value, attributes: Mapping[str, Any], kind: str) -> Value | None:
    """A pooling whose channels may come last."""
    rest = {name: item for name, item in attributes.items() if name != "channels_last"}
    if not attributes.get("channels_last", 0):
        return op.call(kind, [value], rest)
    rank = value.tensor_type.rank
    if rank is None:
        return None
    first = (0, rank - 1, *range(1, rank - 1))
    last = (0, *range(2, rank), 1)
    return op.Transpose(op.call(kind, [op.Transpose(value, perm=first)], rest), perm=last)


Unary = Callable[[Builder, Value, Mapping[str, Any]], "Value | None"]
_UNARY: dict[str, Unary] = {
    "QLinearSigmoid": lambda op, x, attributes: op.Sigmoid(x),
    "QLinearLeakyRelu": lambda op, x, attributes: op.LeakyRelu(x, **attributes),
    "QLinearGlobalAveragePool": lambda op, x, attributes: _pooled(op, x, attributes, "onnx.GlobalAveragePool"),
    "QLinearAveragePool": lambda op, x, attributes: _pooled(op, x, attributes, "onnx.AveragePool"),
    "QLinearSoftmax": lambda op, x, attributes: (
        op.Softmax(x, axis=attributes.get("axis", -1)) if attributes.get("opset", 13) >= 13 else None
    ),
}


@on(*(f"com.microsoft.{name}" for name in _UNARY))
def function_of_codes(op: Builder, operation: Operation) -> Value | Miss:
    """An operation of one tensor: codes, scale, zero point, then scale and zero point of the result."""
    source, result = _real(op, operation, 0), _result(operation, 3)
    if source is None or result is None:
        return _UNKNOWN
    value = _UNARY[operation.name.rpartition(".")[2]](op, source, operation.attributes)
    return Miss("it is of a form that ONNX has no operation for") if value is None else result.quantize(op, value)


@on("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul")
def arithmetic_of_codes(op: Builder, operation: Operation) -> Value | Miss:
    """QLinearAdd and QLinearMul."""
    left, right, result = _real(op, operation, 0), _real(op, operation, 3), _result(operation, 6)
    if left is None or right is None or result is None:
        return _UNKNOWN
    return result.quantize(op, op.call(f"onnx.{operation.name[-3:]}", [left, right]))


@on("com.microsoft.QLinearConcat")
def join_of_codes(op: Builder, operation: Operation) -> Value | Miss:
    """QLinearConcat; its first two operands speak of the result."""
    result = _result(operation, 0)
    parts = [_real(op, operation, position) for position in range(2, len(operation.operands), 3)]
    if result is None or any(part is None for part in parts):
        return _UNKNOWN
    return result.quantize(op, op.Concat(*parts, **_attributes(operation)))


@on("com.microsoft.QuantizeLinear", "com.microsoft.DequantizeLinear")
def runtime_coding(op: Builder, operation: Operation) -> Value | Miss:
    """onnxruntime's own names for ONNX's operations."""
    name = operation.name.rpartition(".")[2]
    return op.call(f"onnx.{name}", operation.operands, operation.attributes)


RULES = (
    convolution_of_codes,
    product_of_codes,
    gemm_of_codes,
    function_of_codes,
    arithmetic_of_codes,
    join_of_codes,
    runtime_coding,
)
