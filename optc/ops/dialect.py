"""The operations that the compiler adds to ONNX's: `optc.constant`, `optc.return`, `optc.relayout`, `optc.fused`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.ir import dtypes
from optc.ir.core import CONSTANT, RETURN, Operation
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Kind, declaration_of, declare
from optc.ops.elementwise import no_flops
from optc.ops.evaluate import evaluate_graph
from optc.ops.inference import infer_types
from optc.ops.shapes import tensor


def _constant(operation: Operation) -> np.ndarray:
    value = operation.attributes.get("value")
    if not isinstance(value, np.ndarray):
        raise ValueError("its attribute 'value' must be an array")
    return value


def _infer_constant(operation: Operation) -> Sequence[ValueType]:
    value = _constant(operation)
    return (TensorType(dtypes.from_numpy(value.dtype), tuple(value.shape)),)


def _verify_constant(operation: Operation) -> None:
    _constant(operation)
    if operation.operands or len(operation.results) != 1:
        raise ValueError("a constant has no inputs and one output")


declare(
    CONSTANT,
    Kind.CONSTANT,
    infer=_infer_constant,
    evaluate=lambda operation, arrays: [_constant(operation)],
    verify=_verify_constant,
    flops=no_flops,
    bytes=lambda operation: 0,
)


def _verify_return(operation: Operation) -> None:
    if operation.results or operation.attributes or None in operation.operands:
        raise ValueError("a return has inputs only")


declare(
    RETURN,
    Kind.OPAQUE,
    infer=lambda operation: (),
    evaluate=lambda operation, arrays: [],
    verify=_verify_return,
    flops=no_flops,
    bytes=lambda operation: 0,
)


def _infer_relayout(operation: Operation) -> Sequence[ValueType]:
    """The logical type of the operand in the layout that the result already has."""
    old = operation.result.type
    data = tensor(operation, 0)
    return (data.with_layout(old.layout) if isinstance(old, TensorType) else data,)


def _verify_relayout(operation: Operation) -> None:
    data, result = tensor(operation, 0), operation.result.tensor_type
    if (data.dtype, data.shape) != (result.dtype, result.shape):
        raise ValueError("a relayout keeps the element type and the logical shape")
    if operation.attributes:
        raise ValueError("a relayout has no attributes: the layout stands in the result's type")


declare(
    "optc.relayout",
    Kind.MOVEMENT,
    infer=_infer_relayout,
    evaluate=lambda operation, arrays: [array for array in arrays if array is not None],
    verify=_verify_relayout,
    flops=no_flops,
)


def _infer_fused(operation: Operation) -> Sequence[ValueType]:
    """Types flow through the body; its inputs take the types of the operands, layouts included."""
    body = operation.graphs["body"]
    for value, operand in zip(body.inputs, operation.operands, strict=True):
        if operand is None:
            raise ValueError("an input of a fused group is missing")
        value.type = operand.type
    infer_types(body)
    return [value.type for value in body.outputs]


def _verify_fused(operation: Operation) -> None:
    if set(operation.graphs) != {"body"}:
        raise ValueError("a fused group has exactly one graph, 'body'")
    body = operation.graphs["body"]
    if len(body.inputs) != len(operation.operands) or len(body.outputs) != len(operation.results):
        raise ValueError(
            f"its body takes {len(body.inputs)} and returns {len(body.outputs)} values, "
            f"the operation {len(operation.operands)} and {len(operation.results)}"
        )
    inside = set(body.inputs)
    for inner in body.walk():
        inside.update(inner.results)
        for graph in inner.graphs.values():
            inside.update(graph.inputs)
    for inner in body.walk():
        for value in inner.present_operands:
            if value not in inside:
                raise ValueError(f"its body reads '{value.name}' from outside")


def _fused_flops(operation: Operation) -> int:
    return sum(declaration_of(inner.name).flops(inner) for inner in operation.graphs["body"])


declare(
    "optc.fused",
    Kind.OPAQUE,
    infer=_infer_fused,
    evaluate=lambda operation, arrays: evaluate_graph(
        operation.graphs["body"], [array for array in arrays if array is not None]
    ),
    verify=_verify_fused,
    flops=_fused_flops,
)
