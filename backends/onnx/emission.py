"""Write operations as an ONNX model that any onnxruntime loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optc.ir.captures import free_values
from optc.ir.clone import clone_operation
from optc.ir.core import Graph, Operation, Value
from optc.ir.dtypes import BY_NAME, DType
from optc.ir.types import TensorType, ValueType
from optc.ops.onnx_export import to_onnx_model

MODEL = "model.onnx"
"""The file's name when it holds the whole model."""


def emit(
    operations: Sequence[Operation], inputs: Sequence[Value], outputs: Sequence[Value], names: Mapping[Value, str]
) -> bytes:
    """Some operations of one graph as a model of their own.

    Args:
        operations: in execution order; constants that they read become initializers.
        inputs: the values that enter.
        outputs: the values that leave.
        names: how the inputs and outputs are called.

    4-bit integers enter and leave as bytes: onnxruntime computes with them, but hands none out.

    Returns:
        the bytes of a ModelProto; the same arguments give the same bytes.
    """
    graph = Graph("model", [(names[value], crossing_type(value.type)) for value in inputs])
    mapping = {value: _cast(graph, entered, value.type) for value, entered in zip(inputs, graph.inputs, strict=True)}
    for operation in operations:
        for value in free_values(operation):
            if value not in mapping and value.producer is not None and value.is_constant:
                graph.append(clone_operation(value.producer, mapping))
        graph.append(clone_operation(operation, mapping))
    left = [_cast(graph, mapping[value], crossing_type(value.type)) for value in outputs]
    graph.set_outputs(left, [names[value] for value in outputs])
    return to_onnx_model(graph).SerializeToString(deterministic=True)


def crossing_type(kind: ValueType) -> ValueType:
    """The type under which a value crosses the border of a model."""
    if not isinstance(kind, TensorType) or kind.dtype.name not in _WIDE:
        return kind
    return TensorType(_WIDE[kind.dtype.name], kind.shape)


_WIDE: dict[str, DType] = {"i4": BY_NAME["i8"], "u4": BY_NAME["u8"]}


def _cast(graph: Graph, value: Value, kind: ValueType) -> Value:
    """The value as `kind`; itself when it is that already."""
    if value.type == kind or not isinstance(kind, TensorType):
        return value
    if not isinstance(value.type, TensorType) or value.type.dtype == kind.dtype:
        return value
    name = f"{value.name}_{kind.dtype}"
    return graph.append(
        Operation("onnx.Cast", [value], [kind], {"to": kind.dtype.onnx_code}, result_names=[name])
    ).result
