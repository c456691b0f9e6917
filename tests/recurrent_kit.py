"""LSTM and GRU as modules, for the tests of what takes them apart and of what computes them."""

from __future__ import annotations

import itertools

import numpy as np

from optc.ir.core import Graph, Module
from optc.ir.dtypes import BY_NAME, FLOAT32
from optc.ir.types import TensorType
from optc.ops.inference import make_operation

HIDDEN, WIDTH = 5, 3
GATES = {"LSTM": 4, "GRU": 3}


def recurrent(
    kind: str, length: int, batch: int, *, states: bool = True, lengths: bool = False, **attributes: object
) -> Module:
    """The operation alone; `lengths`: of its sequences, as an input."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    random = np.random.default_rng(0)
    rows = GATES[kind] * HIDDEN

    def weight(*shape: int) -> np.ndarray:
        return random.uniform(-1, 1, shape).astype(np.float32)

    by_batch = attributes.get("layout") == 1
    graph = Graph("main", [("x", TensorType(FLOAT32, (batch, length, WIDTH) if by_batch else (length, batch, WIDTH)))])
    operands = [graph.inputs[0]]
    for shape in ((directions, rows, WIDTH), (directions, rows, HIDDEN), (directions, 2 * rows)):
        operands.append(graph.constant(weight(*shape), "w"))
    count = 3 if kind == "LSTM" else 2
    if states:
        sequences = graph.add_input("lengths", TensorType(BY_NAME["i32"], (batch,))) if lengths else None
        operands.append(sequences)  # type: ignore[arg-type]
        shape = (batch, directions, HIDDEN) if by_batch else (directions, batch, HIDDEN)
        operands += [graph.add_input(f"s{i}", TensorType(FLOAT32, shape)) for i in range(count - 1)]
    operation = make_operation(
        f"onnx.{kind}",
        operands,
        {"hidden_size": HIDDEN, **attributes},  # type: ignore[dict-item]
        result_names=["y", "h", "c"][:count],
    )
    graph.append(operation)
    graph.set_outputs(operation.results)
    return Module(graph)


def feeds(module: Module) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {value.name: random.uniform(-1, 1, value.shape).astype(np.float32) for value in module.main.inputs}


CASES = [
    *((kind, d, {}) for kind, d in itertools.product(("LSTM", "GRU"), ("forward", "reverse", "bidirectional"))),
    ("GRU", "forward", {"linear_before_reset": 1}),
]
