"""The reference interpreter: runs a graph operation by operation with the declarations' own numerics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from optc.ir.core import CONSTANT, Graph, Value
from optc.ops.declaration import declaration_of


def evaluate_graph(
    graph: Graph, inputs: Sequence[np.ndarray], captured: Mapping[Value, np.ndarray] | None = None
) -> list[np.ndarray]:
    """The outputs of a graph for given inputs.

    Args:
        graph: the graph to run.
        inputs: one array for each graph input.
        captured: values of graphs around it that it reads; constants need not be given.

    Raises:
        ValueError: it reads a value from around it that is neither given nor constant.
    """
    known: dict[Value, np.ndarray] = dict(captured or {})
    known.update(zip(graph.inputs, inputs, strict=True))

    def read(value: Value | None) -> np.ndarray | None:
        if value is None:
            return None
        if value not in known:
            constant = value.constant
            if constant is None:
                raise ValueError(f"'{value.name}' is read from a graph around '{graph.name}'")
            known[value] = constant
        return known[value]

    for operation in graph:
        if operation.name == CONSTANT:
            continue
        arrays = declaration_of(operation.name).evaluate(operation, [read(value) for value in operation.operands])
        known.update(zip(operation.results, arrays, strict=False))
    return [array for array in (read(value) for value in graph.outputs) if array is not None]
