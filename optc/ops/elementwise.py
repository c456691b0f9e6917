"""Element-wise operations: arithmetic, comparison, logic, bits, activations.

`BatchNormalization` and the quantize pair are element-wise too: their per-channel operands lie along an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.dtypes import DType
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Count, Kind, declare, elements_of
from optc.ops.onnx_types import dtype_from_code
from optc.ops.shapes import broadcast, describe, integer, tensor

DTypeRule = Callable[[Operation], DType]


def first_dtype(operation: Operation) -> DType:
    """The element type of operand 0."""
    return tensor(operation, 0).dtype


def bool_dtype(operation: Operation) -> DType:
    return dtypes.BOOL


def second_dtype(operation: Operation) -> DType:
    """The element type of operand 1."""
    return tensor(operation, 1).dtype


def cast_dtype(operation: Operation) -> DType:
    """The element type that the attribute `to` names."""
    return dtype_from_code(integer(operation, "to"))


def same_shape(operation: Operation) -> Sequence[ValueType]:
    """Shape and element type of operand 0."""
    return (TensorType(tensor(operation, 0).dtype, tensor(operation, 0).shape),)


def broadcasting(dtype: DTypeRule, *, agree: Sequence[int] | None = None) -> Callable[[Operation], Sequence[ValueType]]:
    """The broadcast of all operands; those at `agree` (default: all) must have the same element type."""

    def infer(operation: Operation) -> Sequence[ValueType]:
        types = [tensor(operation, position) for position in range(len(operation.operands))]
        positions = range(len(types)) if agree is None else agree
        distinct = list(dict.fromkeys(str(types[position].dtype) for position in positions))
        if len(distinct) > 1:
            raise ValueError(f"its inputs have the element types {' and '.join(distinct)}, which must be the same")
        return (TensorType(dtype(operation), broadcast(operation, [type.shape for type in types])),)

    return infer


def unary(dtype: DTypeRule = first_dtype) -> Callable[[Operation], Sequence[ValueType]]:
    """The shape of operand 0 with another element type."""

    def infer(operation: Operation) -> Sequence[ValueType]:
        return (TensorType(dtype(operation), tensor(operation, 0).shape),)

    return infer


def per_element(count: int) -> Count:
    """`count` floating-point operations for each result element: those of the definition."""
    return lambda operation: count * elements_of(operation)


def no_flops(operation: Operation) -> int:
    """Nothing is computed: moved, compared or reinterpreted only."""
    return 0


# Operations per element, counted from the ONNX definition of each (exp, log, sqrt, division: one each).
_UNARY = {
    "Abs": 1, "Neg": 1, "Ceil": 1, "Floor": 1, "Round": 1, "Sign": 1, "Reciprocal": 1, "Sqrt": 1, "Exp": 1, "Log": 1,
    "Sin": 1, "Cos": 1, "Tan": 1, "Asin": 1, "Acos": 1, "Atan": 1, "Sinh": 1, "Cosh": 1, "Tanh": 1,
    "Asinh": 1, "Acosh": 1, "Atanh": 1, "Erf": 1,
    "Relu": 1, "LeakyRelu": 2, "ThresholdedRelu": 1, "Elu": 3, "Selu": 4, "Celu": 6, "Shrink": 2,
    "Sigmoid": 4, "HardSigmoid": 4, "HardSwish": 5, "Swish": 5, "Mish": 5, "Gelu": 5,
    "Softplus": 3, "Softsign": 3, "BitwiseNot": 1, "Identity": 0,
}  # fmt: skip
_UNARY_BOOL = {"Not": 1, "IsNaN": 1, "IsInf": 1}
_BINARY = {
    "Add": 1,
    "Sub": 1,
    "Mul": 1,
    "Div": 1,
    "Mod": 3,
    "BitShift": 1,
    "BitwiseAnd": 1,
    "BitwiseOr": 1,
    "BitwiseXor": 1,
}
_BINARY_BOOL = {"Equal": 1, "Less": 1, "LessOrEqual": 1, "Greater": 1, "GreaterOrEqual": 1, "And": 1, "Or": 1, "Xor": 1}
_VARIADIC = ("Min", "Max", "Sum", "Mean")

for _name, _count in _UNARY.items():
    if _name != "Identity":
        declare(f"onnx.{_name}", Kind.ELEMENTWISE, infer=same_shape, flops=per_element(_count))
for _name, _count in _UNARY_BOOL.items():
    declare(f"onnx.{_name}", Kind.ELEMENTWISE, infer=unary(bool_dtype), flops=per_element(_count))
for _name, _count in _BINARY.items():
    declare(f"onnx.{_name}", Kind.ELEMENTWISE, infer=broadcasting(first_dtype), flops=per_element(_count))
for _name, _count in _BINARY_BOOL.items():
    declare(f"onnx.{_name}", Kind.ELEMENTWISE, infer=broadcasting(bool_dtype), flops=per_element(_count))
for _name in _VARIADIC:
    declare(
        f"onnx.{_name}",
        Kind.ELEMENTWISE,
        infer=broadcasting(first_dtype),
        flops=lambda operation: max(1, len(operation.operands) - 1) * elements_of(operation),
    )

declare("onnx.Pow", Kind.ELEMENTWISE, infer=broadcasting(first_dtype, agree=()))
declare("onnx.Where", Kind.ELEMENTWISE, infer=broadcasting(second_dtype, agree=(1, 2)))
declare("onnx.Cast", Kind.ELEMENTWISE, infer=unary(cast_dtype))
declare("onnx.CastLike", Kind.ELEMENTWISE, infer=unary(second_dtype))


def _infer_identity(operation: Operation) -> Sequence[ValueType]:
    (operand,) = operation.present_operands
    return (same_shape(operation)[0] if isinstance(operand.type, TensorType) else operand.type,)


declare("onnx.Identity", Kind.ELEMENTWISE, infer=_infer_identity, flops=no_flops)


def _infer_clip(operation: Operation) -> Sequence[ValueType]:
    for position in (1, 2):
        if operation.operand(position) is not None and tensor(operation, position).shape not in ((), None):
            shape = tensor(operation, position).shape
            if shape != (1,):  # files in the wild write scalars so
                raise ValueError(f"its bound has the shape {describe(shape)} where a scalar is needed")
    return same_shape(operation)


def _infer_prelu(operation: Operation) -> Sequence[ValueType]:
    data, slope = tensor(operation, 0), tensor(operation, 1)
    shape = broadcast(operation, [data.shape, slope.shape])
    if data.shape is not None and shape is not None and len(shape) > len(data.shape):
        raise ValueError(f"the slope {describe(slope.shape)} does not broadcast to {describe(data.shape)}")
    return same_shape(operation)


def _infer_dropout(operation: Operation) -> Sequence[ValueType]:
    data = tensor(operation, 0)
    return (TensorType(data.dtype, data.shape), TensorType(dtypes.BOOL, data.shape))[: len(operation.results)]


declare("onnx.Clip", Kind.ELEMENTWISE, infer=_infer_clip, flops=per_element(2))
declare("onnx.PRelu", Kind.ELEMENTWISE, infer=_infer_prelu, flops=per_element(2))
declare("onnx.Dropout", Kind.ELEMENTWISE, infer=_infer_dropout, flops=no_flops)


def infer_batch_normalization(operation: Operation) -> Sequence[ValueType]:
    """Y like X; running mean and variance like the inputs of that name."""
    data = tensor(operation, 0)
    if data.shape is not None and len(data.shape) > 1:
        for position in range(1, 5):
            shape = tensor(operation, position).shape
            if shape is not None and shape[-1:] != data.shape[1:2] and shape:
                extent = shape[0]
                if len(shape) != 1 or (isinstance(extent, int) and isinstance(data.shape[1], int)):
                    raise ValueError(
                        f"its input {position} has the shape {describe(shape)} where one value for each of the "
                        f"{data.shape[1]} channels is needed"
                    )
    types = (
        TensorType(data.dtype, data.shape),
        *(TensorType(t.dtype, t.shape) for t in (tensor(operation, 3), tensor(operation, 4))),
    )
    return types[: len(operation.results)]


# Two operations an element once scale and bias are folded with the statistics.
declare("onnx.BatchNormalization", Kind.ELEMENTWISE, infer=infer_batch_normalization, flops=per_element(2))
