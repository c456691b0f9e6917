"""Reductions, softmax, normalization and search along axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.dims import Dim
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Count, Kind, declare
from optc.ops.elementwise import no_flops, same_shape
from optc.ops.shapes import (
    broadcast,
    describe,
    fresh,
    fresh_shape,
    integer,
    normalize_axis,
    number,
    reduced,
    tensor,
)
from optc.ops.values import dims_of, ints_of, operand_shape


def reduction_axes(operation: Operation) -> list[int] | None:
    """The axes that a Reduce* operation reduces, normalised and sorted; None while they are unknown.

    Neither the input's rank nor, when they come as a tensor, the axes need be known.
    """
    rank = tensor(operation, 0).rank
    if rank is None:
        return None
    axes = operation.operand(1)
    if axes is None:
        return [] if integer(operation, "noop_with_empty_axes") else list(range(rank))
    values = ints_of(axes)
    if values is None:
        return None
    if not values:
        return [] if integer(operation, "noop_with_empty_axes") else list(range(rank))
    return sorted(normalize_axis(axis, rank) for axis in values)


def _infer_reduce(operation: Operation) -> Sequence[ValueType]:
    data = tensor(operation, 0)
    keepdims = bool(integer(operation, "keepdims", 1))
    axes = reduction_axes(operation)
    if data.shape is None:
        return (TensorType(data.dtype, None),)
    if axes is not None:
        return (TensorType(data.dtype, reduced(operation, data.shape, axes, keepdims)),)
    if keepdims:
        return (TensorType(data.dtype, fresh_shape(operation, len(data.shape))),)
    shape = operand_shape(operation, 1)
    if shape is not None and len(shape) == 1 and isinstance(shape[0], int) and shape[0]:
        return (TensorType(data.dtype, fresh_shape(operation, len(data.shape) - shape[0])),)
    return (TensorType(data.dtype, None),)


def per_input(count: int) -> Count:
    """`count` floating-point operations for each element of operand 0."""

    def flops(operation: Operation) -> int:
        data = operation.operands[0]
        assert data is not None
        return count * data.tensor_type.elements

    return flops


_REDUCE = {
    "ReduceSum": 1, "ReduceMean": 1, "ReduceMax": 1, "ReduceMin": 1, "ReduceProd": 1, "ReduceL1": 2, "ReduceL2": 2,
    "ReduceSumSquare": 2, "ReduceLogSum": 1, "ReduceLogSumExp": 4,
}  # fmt: skip
for _name, _count in _REDUCE.items():
    declare(f"onnx.{_name}", Kind.REDUCTION, infer=_infer_reduce, flops=per_input(_count))


def _infer_along_axis(operation: Operation) -> Sequence[ValueType]:
    data = tensor(operation, 0)
    if data.shape is not None:
        normalize_axis(integer(operation, "axis", -1), max(1, len(data.shape)))
    return same_shape(operation)


# max, subtract, exp, sum, divide; log-softmax takes one more logarithm a row, which does not count.
for _name, _count in {"Softmax": 5, "LogSoftmax": 5, "Hardmax": 2, "LpNormalization": 3}.items():
    declare(f"onnx.{_name}", Kind.REDUCTION, infer=_infer_along_axis, flops=per_input(_count))


def _infer_arg(operation: Operation) -> Sequence[ValueType]:
    data = tensor(operation, 0)
    axes = [integer(operation, "axis", 0)]
    return (TensorType(dtypes.INT64, reduced(operation, data.shape, axes, bool(integer(operation, "keepdims", 1)))),)


for _name in ("ArgMax", "ArgMin"):
    declare(f"onnx.{_name}", Kind.REDUCTION, infer=_infer_arg, flops=per_input(1))
for _name in ("CumSum", "CumProd"):
    declare(f"onnx.{_name}", Kind.REDUCTION, infer=same_shape, flops=per_input(1))


def _check_parameter(operation: Operation, position: int, extent: Dim) -> None:
    if operation.operand(position) is None:
        return
    shape = tensor(operation, position).shape
    if shape is None:
        return
    if len(shape) != 1 or (isinstance(shape[0], int) and isinstance(extent, int) and shape[0] != extent):
        raise ValueError(f"its input {position} has the shape {describe(shape)} where ({extent},) is needed")


def _infer_channel_normalization(operation: Operation) -> Sequence[ValueType]:
    shape = tensor(operation, 0).shape
    if shape is not None and len(shape) > 1:
        for position in (1, 2):
            _check_parameter(operation, position, shape[1])
    return same_shape(operation)


def _evaluate_group_normalization(operation: Operation, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """ONNX gives it a function body only, which its evaluator cannot specialise."""
    data, scale, bias = arrays
    assert data is not None and scale is not None and bias is not None
    rows = data.reshape(data.shape[0], integer(operation, "num_groups"), -1)
    exact = rows.astype(np.float64 if data.dtype == np.float64 else np.float32)
    deviation = exact - exact.mean(-1, keepdims=True)
    variance = np.square(deviation).mean(-1, keepdims=True)
    normal = (deviation / np.sqrt(variance + number(operation, "epsilon", 1e-5))).astype(data.dtype).reshape(data.shape)
    spread = (-1, *(1 for _ in data.shape[2:]))
    return [normal * scale.reshape(spread) + bias.reshape(spread)]


# mean, deviation, square, sum, scale, shift and their like.
declare("onnx.InstanceNormalization", Kind.REDUCTION, infer=_infer_channel_normalization, flops=per_input(7))
declare(
    "onnx.GroupNormalization",
    Kind.REDUCTION,
    infer=_infer_channel_normalization,
    evaluate=_evaluate_group_normalization,
    flops=per_input(7),
)
declare("onnx.MeanVarianceNormalization", Kind.REDUCTION, infer=same_shape, flops=per_input(6))


def _infer_layer_normalization(operation: Operation) -> Sequence[ValueType]:
    data = tensor(operation, 0)
    types = [TensorType(data.dtype, data.shape)]
    if data.shape is not None:
        axis = normalize_axis(integer(operation, "axis", -1), len(data.shape))
        for position in (1, 2):
            if operation.operand(position) is not None:
                parameter = tensor(operation, position).shape
                whole = broadcast(operation, [data.shape[axis:], parameter])
                if whole is not None and len(whole) > len(data.shape):
                    raise ValueError(
                        f"its input {position} has the shape {describe(parameter)}, which does not broadcast to "
                        f"{describe(data.shape[axis:])}"
                    )
        statistics = data.shape[:axis] + tuple(1 for _ in data.shape[axis:])
        types += [TensorType(dtypes.FLOAT32, statistics)] * 2
    else:
        types += [TensorType(dtypes.FLOAT32, None)] * 2
    return types[: len(operation.results)]


declare("onnx.LayerNormalization", Kind.REDUCTION, infer=_infer_layer_normalization, flops=per_input(7))
declare("onnx.RMSNormalization", Kind.REDUCTION, infer=_infer_layer_normalization, flops=per_input(4))


def _lrn_flops(operation: Operation) -> int:
    data = operation.operands[0]
    assert data is not None
    return data.tensor_type.elements * (2 * integer(operation, "size", 1) + 4)


declare("onnx.LRN", Kind.WINDOW, infer=same_shape, flops=_lrn_flops)


def _infer_top_k(operation: Operation) -> Sequence[ValueType]:
    data = tensor(operation, 0)
    if data.shape is None:
        return (TensorType(data.dtype, None), TensorType(dtypes.INT64, None))[: len(operation.results)]
    axis = normalize_axis(integer(operation, "axis", -1), len(data.shape))
    known = dims_of(operation.operand(1))
    count = known[0] if known is not None and known[0] is not None else fresh(operation, axis)
    extent = data.shape[axis]
    if isinstance(count, int) and isinstance(extent, int) and count > extent:
        raise ValueError(f"k is {count} where axis {axis} of {describe(data.shape)} has {extent} elements")
    shape = (*data.shape[:axis], count, *data.shape[axis + 1 :])
    return (TensorType(data.dtype, shape), TensorType(dtypes.INT64, shape))[: len(operation.results)]


declare("onnx.TopK", Kind.REDUCTION, infer=_infer_top_k, flops=no_flops)
