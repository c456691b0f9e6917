"""Copies of operations, graphs and modules; constants share their arrays."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace

from optc.ir.core import Graph, Module, Operation, Value

Mapping = MutableMapping[Value, Value]


def clone_operation(operation: Operation, mapping: Mapping) -> Operation:
    """A copy in no graph yet.

    Args:
        operation: what to copy, nested graphs included.
        mapping: originals → copies. Operands that it lacks are read by the copy as they are; the results, and all
            values of nested graphs, are added to it.
    """
    copy = Operation(
        operation.name,
        [operand if operand is None else mapping.get(operand, operand) for operand in operation.operands],
        [result.type for result in operation.results],
        operation.attributes,
        result_names=[result.name for result in operation.results] or None,
        graphs={name: clone_graph(graph, mapping) for name, graph in operation.graphs.items()},
        location=operation.location,
    )
    mapping.update(zip(operation.results, copy.results, strict=True))
    return copy


def clone_graph(graph: Graph, mapping: Mapping | None = None) -> Graph:
    """A copy without a parent; values of the graphs around it that `mapping` lacks are shared."""
    mapping = {} if mapping is None else mapping
    copy = Graph(graph.name, [(value.name, value.type) for value in graph.inputs])
    mapping.update(zip(graph.inputs, copy.inputs, strict=True))
    for operation in graph:
        copy.append(clone_operation(operation, mapping))
    copy.terminator.set_operands(
        [operand if operand is None else mapping.get(operand, operand) for operand in graph.terminator.operands]
    )
    copy.terminator.location = graph.terminator.location
    copy.output_names = list(graph.output_names)
    return copy


def clone_module(module: Module, mapping: Mapping | None = None) -> Module:
    """A copy of the whole model."""
    return replace(module, main=clone_graph(module.main, mapping), metadata=dict(module.metadata))
