"""LSTM and GRU taken apart give the numbers that onnxruntime gives for the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numerics import assert_same, run

from optc.ir.clone import clone_module
from optc.ir.core import Graph, Module
from optc.ir.dtypes import FLOAT32
from optc.ir.types import TensorType
from optc.ir.verifier import verify
from optc.ops.inference import make_operation
from optc.passes.base import PassContext
from optc.passes.simplify.unroll_recurrent import UnrollRecurrent

HIDDEN, WIDTH = 5, 3
GATES = {"LSTM": 4, "GRU": 3}


def recurrent(kind: str, length: int, batch: int, *, states: bool = True, **attributes: object) -> Module:
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
        operands.append(None)  # type: ignore[arg-type]
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


@pytest.mark.parametrize(("kind", "direction", "attributes"), CASES)
def test_the_numbers_stay(kind: str, direction: str, attributes: dict[str, int]) -> None:
    for length, batch, states in ((1, 1, True), (3, 2, True), (2, 2, False)):
        module = recurrent(kind, length, batch, states=states, direction=direction, **attributes)
        before = clone_module(module)
        context = PassContext()
        assert UnrollRecurrent().run(module, context)
        verify(module)
        assert f"onnx.{kind}" not in {item.name for item in module.walk()}
        inputs = feeds(module)
        assert_same(run(before, inputs), run(module, inputs))


def test_it_stays_where_the_target_runs_it() -> None:
    module = recurrent("LSTM", 1, 1)
    assert not UnrollRecurrent().run(module, PassContext(supports=lambda operation: None))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"length": 17}, "its 17 steps in 1 directions are above max-steps = 16"),
        ({"length": 9, "direction": "bidirectional"}, "its 9 steps in 2 directions are above max-steps = 16"),
        ({"length": 2, "clip": 1.0}, "it clips its gates, or couples two of them"),
        ({"length": 2, "activations": ("Sigmoid", "Relu", "Tanh")}, "its activations are not Sigmoid and Tanh"),
        ({"length": 2, "batch": 2, "layout": 1}, "its batch comes before its steps"),
    ],
)
def test_refusals_have_reasons(arguments: dict[str, object], reason: str) -> None:
    module = recurrent("LSTM", **{"batch": 1, **arguments})  # type: ignore[arg-type]
    context = PassContext()
    assert not UnrollRecurrent().run(module, context)
    assert [(r.status, r.reason) for r in context.remarks] == [("missed", reason)]
