"""Write operations as an ONNX model that any onnxruntime loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optc.ir.captures import free_values
from optc.ir.clone import clone_operation
from optc.ir.core import Graph, Operation, Value
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

    Returns:
        the bytes of a ModelProto; the same arguments give the same bytes.
    """
    graph = Graph("model", [(names[value], value.type) for value in inputs])
    mapping: dict[Value, Value] = dict(zip(inputs, graph.inputs, strict=True))
    for operation in operations:
        for value in free_values(operation):
            if value not in mapping and value.producer is not None and value.is_constant:
                graph.append(clone_operation(value.producer, mapping))
        graph.append(clone_operation(operation, mapping))
    graph.set_outputs([mapping[value] for value in outputs], [names[value] for value in outputs])
    return to_onnx_model(graph).SerializeToString(deterministic=True)
