"""Pooling: a small neighbourhood, or all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.dims import Dim, Shape
from optc.ir.types import TensorType, ValueType
from optc.ops.contraction import spatial, spatial_padding
from optc.ops.declaration import Kind, declare, elements_of
from optc.ops.shapes import describe, integer, integers, tensor, text, window_extent


def _pooled(operation: Operation) -> Shape | None:
    shape = tensor(operation, 0).shape
    kernel = integers(operation, "kernel_shape")
    if kernel is None:
        raise ValueError("its attribute 'kernel_shape' is missing")
    if shape is None:
        return None
    rank = len(kernel)
    if len(shape) != rank + 2:
        raise ValueError(f"a window of {rank} axes does not fit the shape {describe(shape)}")
    strides = spatial(operation, "strides", rank)
    dilations = spatial(operation, "dilations", rank)
    padding = spatial_padding(operation, rank)
    auto_pad = text(operation, "auto_pad", "NOTSET") or "NOTSET"
    ceil_mode = bool(integer(operation, "ceil_mode"))
    extents: list[Dim] = [
        window_extent(shape[axis + 2], kernel[axis], strides[axis], dilations[axis], padding[axis], auto_pad, ceil_mode)
        for axis in range(rank)
    ]
    return (*shape[:2], *extents)


def _infer_pool(operation: Operation) -> Sequence[ValueType]:
    shape = _pooled(operation)
    types = (TensorType(tensor(operation, 0).dtype, shape), TensorType(dtypes.INT64, shape))
    return types[: len(operation.results)]


def _window_flops(operation: Operation) -> int:
    """One operation for each element of each window."""
    result = operation.results[0].tensor_type.elements
    return result * math.prod(integers(operation, "kernel_shape") or ())


for _name in ("MaxPool", "AveragePool", "LpPool"):
    declare(f"onnx.{_name}", Kind.WINDOW, infer=_infer_pool, flops=_window_flops)


def _infer_global(operation: Operation) -> Sequence[ValueType]:
    data = tensor(operation, 0)
    if data.shape is None:
        return (TensorType(data.dtype, None),)
    return (TensorType(data.dtype, (*data.shape[:2], *(1 for _ in data.shape[2:]))),)


def _input_flops(operation: Operation) -> int:
    """One operation for each input element."""
    data = operation.operands[0]
    assert data is not None
    return data.tensor_type.elements + elements_of(operation)


def _global_maximum(operation: Operation, arrays: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    """Over all spatial axes, however many: ONNX's own evaluation takes them to be two."""
    (data,) = arrays
    assert data is not None
    return [data.max(axis=tuple(range(2, data.ndim)), keepdims=True)]


declare("onnx.GlobalMaxPool", Kind.REDUCTION, infer=_infer_global, evaluate=_global_maximum, flops=_input_flops)
for _name in ("GlobalAveragePool", "GlobalLpPool"):
    declare(f"onnx.{_name}", Kind.REDUCTION, infer=_infer_global, flops=_input_flops)
