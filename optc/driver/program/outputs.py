"""Outputs that only the run can size, each made by an operation of its own."""

from __future__ import annotations

from optc.driver.program.assembly import has_address
from optc.ir.core import Graph, Operation, Value


def separate_outputs(graph: Graph) -> None:
    """Give every output without a planned place a producer that stands for it alone.

    The host passes such values by name, so an input, a constant or a value that is returned twice needs an Identity.
    """
    seen: set[Value] = set()
    outputs = list(graph.outputs)
    for position, (value, name) in enumerate(zip(outputs, graph.output_names, strict=True)):
        if has_address(value):
            continue
        if value in seen or value.producer is None or value.is_constant:
            copy = Operation("onnx.Identity", [value], [value.type], result_names=[name])
            outputs[position] = graph.append(copy).result
        seen.add(value)
    graph.set_outputs(outputs, graph.output_names)
