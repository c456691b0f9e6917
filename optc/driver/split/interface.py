"""What a graph takes and gives, in the terms of a record."""

from __future__ import annotations

from math import prod
from typing import Any

from optc.artifact.split_record import CutTensor
from optc.driver.split.sizes import RAW
from optc.ir.core import Graph
from optc.ir.dtypes import BY_NAME
from optc.program import TensorInfo


def info_of(name: str, type: Any) -> TensorInfo:
    """A tensor of a static type."""
    return TensorInfo(name, *typed(type))


def typed(type: Any) -> tuple[str, tuple[int, ...]]:
    """NumPy's name of the element type, and the shape, of a static type."""
    return type.dtype.numpy_name, type.static_shape


def interface(graph: Graph) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """Inputs and outputs of a graph of static types."""
    inputs = tuple(info_of(value.name, value.tensor_type) for value in graph.inputs)
    outputs = zip(graph.output_names, graph.outputs, strict=True)
    return inputs, tuple(info_of(name, value.tensor_type) for name, value in outputs)


def raw_tensor(info: TensorInfo) -> CutTensor:
    """A value that returns as it lies in memory."""
    shape = tuple(extent or 0 for extent in info.shape or ())
    size = next(dtype.bytes for dtype in BY_NAME.values() if dtype.numpy_name == info.dtype)
    return CutTensor(info.name, info.dtype, shape, RAW, prod(shape) * size)
