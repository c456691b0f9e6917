"""Short ways to make operations and graphs for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from optc.costmodel.interface import Candidate
from optc.ir import dtypes
from optc.ir.core import Attribute, Graph, Value
from optc.ir.dims import Dim, parse_dim
from optc.ir.types import TensorType
from optc.ops.inference import make_operation


class Builder:
    """A graph with inputs of given shapes (`"batch,3,8"`), to which operations are appended by calling it."""

    def __init__(self, dtype: str = "f32", **inputs: str) -> None:
        self.numbers = count()
        self.graph = Graph("main", [(name, tensor(shape, dtype)) for name, shape in inputs.items()])

    def input(self, name: str) -> Value:
        return next(value for value in self.graph.inputs if value.name == name)

    def constant(self, items: object, dtype: type = np.int64) -> Value:
        return self.graph.constant(np.asarray(items, dtype), f"c{next(self.numbers)}")

    def __call__(
        self, op_type: str, *operands: Value | None, results: Sequence[str] = ("y",), **attributes: Attribute
    ) -> Value:
        operation = make_operation(
            op_type if "." in op_type else f"onnx.{op_type}", operands, attributes, result_names=results
        )
        self.graph.append(operation)
        return operation.results[0]


def tensor(shape: str, dtype: str = "f32") -> TensorType:
    """`"batch,3"` → a tensor type; `""` is a scalar."""
    dims: tuple[Dim, ...] = tuple(parse_dim(item.strip()) for item in shape.split(",")) if shape else ()
    return TensorType(dtypes.BY_NAME[dtype], dims)


def shown(value: Value) -> str:
    """The shape of a value as text: `batch,3`."""
    shape = value.tensor_type.shape
    return "unknown" if shape is None else ",".join(str(dim) for dim in shape)


def matrix_product(megabytes: int) -> Candidate:
    """A kernel: a vector times a constant matrix of so many megabytes."""
    build = Builder(x="1,1024")
    weight = build.constant(np.zeros((1024, megabytes * 256)), np.float32)
    build("MatMul", build.input("x"), weight)
    (operation,) = list(build.graph)[-1:]
    return Candidate.of_operations([operation], operation.results)
