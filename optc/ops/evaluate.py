"""The reference interpreter: runs a graph operation by operation with the declarations' own numerics."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from contextvars import ContextVar

import numpy as np

from optc.ir.core import CONSTANT, Graph, Value
from optc.ops.declaration import declaration_of

# What the graphs around the one that runs have computed so far: bodies of If and Loop read it.
_around: ContextVar[MutableMapping[Value, np.ndarray] | None] = ContextVar("values_around", default=None)


def evaluate_graph(
    graph: Graph, inputs: Sequence[np.ndarray | None], captured: Mapping[Value, np.ndarray] | None = None
) -> list[np.ndarray]:
    """The outputs of a graph for given inputs.

    Args:
        graph: the graph to run.
        inputs: one array for each graph input.
        captured: values of graphs around it that it reads; constants, and those that a running evaluation of the
            graph around it knows, need not be given.

    Raises:
        ValueError: it reads a value from around it that is not known.
    """
    around = _around.get()
    known: MutableMapping[Value, np.ndarray] = ChainMap({}, around) if around is not None else {}
    known.update(captured or {})
    known.update((value, array) for value, array in zip(graph.inputs, inputs, strict=True) if array is not None)

    def read(value: Value | None) -> np.ndarray | None:
        if value is None:
            return None
        if value not in known:
            constant = value.constant
            if constant is None:
                raise ValueError(f"'{value.name}' is read from a graph around '{graph.name}' and is not known")
            known[value] = constant
        return known[value]

    token = _around.set(known)
    try:
        for operation in graph:
            if operation.name == CONSTANT:
                continue
            arrays = declaration_of(operation.name).evaluate(operation, [read(value) for value in operation.operands])
            known.update(zip(operation.results, arrays, strict=False))
        return [array for array in (read(value) for value in graph.outputs) if array is not None]
    finally:
        _around.reset(token)
