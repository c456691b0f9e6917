"""The ONNX model of a region that falls back to onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping

from optc.driver.drafts import RegionDraft
from optc.driver.regions import free_values
from optc.ir.clone import clone_operation
from optc.ir.core import Graph, Value
from optc.ops.onnx_export import to_onnx_model


def region_model(draft: RegionDraft, names: Mapping[Value, str]) -> bytes:
    """Serialise a region as a model of its own.

    Args:
        draft: the region, with the values that enter and leave it.
        names: how those values are called in the program.

    Returns:
        the bytes of a ModelProto; constants that the region reads are part of it.
    """
    graph = Graph("region", [(names[value], value.type) for value in draft.inputs])
    mapping: dict[Value, Value] = dict(zip(draft.inputs, graph.inputs, strict=True))
    for operation in draft.region.operations:
        for value in free_values(operation):
            if value not in mapping and value.producer is not None and value.is_constant:
                graph.append(clone_operation(value.producer, mapping))
        graph.append(clone_operation(operation, mapping))
    graph.set_outputs([mapping[value] for value in draft.outputs], [names[value] for value in draft.outputs])
    return to_onnx_model(graph).SerializeToString(deterministic=True)
