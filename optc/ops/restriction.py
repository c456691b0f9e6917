"""`optc.restrict`: what is larger than a bound, or no number, becomes zero; ONNX has no operation of its own for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.ir.core import Operation
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Kind, declare
from optc.ops.elementwise import per_element
from optc.ops.shapes import broadcast, describe, tensor

RESTRICT = "optc.restrict"


def _infer(operation: Operation) -> Sequence[ValueType]:
    data, bound = tensor(operation, 0), tensor(operation, 1)
    if data.dtype != bound.dtype or not data.dtype.is_float:
        raise ValueError(
            f"its inputs have the element types {data.dtype} and {bound.dtype}, which must be one type of reals"
        )
    if data.shape is not None and broadcast(operation, [data.shape, bound.shape]) != data.shape:
        raise ValueError(f"the bound {describe(bound.shape)} does not broadcast to {describe(data.shape)}")
    return (TensorType(data.dtype, data.shape),)


def _verify(operation: Operation) -> None:
    if len(operation.operands) != 2 or None in operation.operands or operation.attributes:
        raise ValueError("a restriction has two inputs, the data and their greatest magnitude, and no attributes")


def _evaluate(operation: Operation, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    data, bound = arrays
    assert data is not None and bound is not None
    return [np.where(np.abs(data) <= bound, data, np.zeros((), data.dtype))]


declare(RESTRICT, Kind.ELEMENTWISE, infer=_infer, evaluate=_evaluate, verify=_verify, flops=per_element(2))
