"""Activations with their channels innermost: what kernels of processors without wide vectors read in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.types import PLAIN, Layout, TensorType
from optc.passes.base import Pass, PassContext

RELAYOUT = "optc.relayout"


@dataclass(frozen=True)
class ChannelsLast(Pass):
    """Store every tensor of three or four dimensions with its axis 1 last.

    Inputs and outputs stay as they are, but for those that are codes (see `code-interface`).
    """

    name: ClassVar[str] = "channels-last"

    def run(self, module: Module, context: PassContext) -> bool:
        graph = module.main
        values = [result for operation in graph if operation.name != CONSTANT for result in operation.results]
        chosen = [value for value in values if _gains(value)]
        for value in chosen:
            value.type = value.tensor_type.with_layout(channels_last(value.tensor_type))
        for value in list(graph.inputs):
            if not _gains(value) or not value.uses:
                continue
            if value.tensor_type.quantization is not None:
                value.type = value.tensor_type.with_layout(channels_last(value.tensor_type))
            else:
                _enter(graph, value)
        outputs = list(graph.outputs)
        for position, value in enumerate(outputs):
            if not isinstance(value.type, TensorType) or value.type.quantization is not None:
                continue
            if not value.type.layout.is_plain:
                outputs[position] = _leave(graph, value)
        graph.set_outputs(outputs, graph.output_names)
        return bool(chosen)


def channels_last(type: TensorType) -> Layout:
    """The layout that stores axis 1 of a tensor innermost."""
    rank = len(type.static_shape)
    return Layout((0, *range(2, rank), 1))


def _gains(value: Value) -> bool:
    """Whether the layout differs from the plain one in memory."""
    type = value.type
    if not isinstance(type, TensorType) or not type.is_static or type.rank not in (3, 4) or not type.layout.is_plain:
        return False
    _, channels, *window = type.static_shape
    return channels > 1 and any(extent > 1 for extent in window)


def _enter(graph: Graph, value: Value) -> None:
    readers = value.users
    first = next(operation for operation in graph if operation in set(readers))
    type = value.tensor_type.with_layout(channels_last(value.tensor_type))
    moved = Operation(RELAYOUT, [value], [type], result_names=[f"{value.name}.channels_last"])
    graph.insert(moved, first)
    value.replace_by(moved.result, only=[reader for reader in readers if reader is not graph.terminator])


def _leave(graph: Graph, value: Value) -> Value:
    moved = Operation(RELAYOUT, [value], [value.tensor_type.with_layout(PLAIN)], result_names=[f"{value.name}.plain"])
    return graph.append(moved).result
