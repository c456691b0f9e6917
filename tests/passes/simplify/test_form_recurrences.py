"""LSTM and GRU in two parts give the numbers that onnxruntime gives for the whole."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numerics import assert_same, run
from recurrent_kit import CASES, feeds, recurrent

from optc.ir.clone import clone_module
from optc.ir.core import Module, Operation
from optc.ir.verifier import verify
from optc.ops.evaluate import evaluate_graph
from optc.ops.recurrence import RECURRENCE
from optc.passes.base import PassContext
from optc.passes.simplify.form_recurrences import FormRecurrences


def computed(module: Module, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By the references of the operations: ONNX has no recurrence."""
    graph = module.main
    arrays = evaluate_graph(graph, [inputs[value.name] for value in graph.inputs])
    return {value.name: array for value, array in zip(graph.outputs, arrays, strict=True)}


def recurrences_only(operation: Operation) -> str | None:
    return None if operation.name == RECURRENCE else "it has no native lowering"


@pytest.mark.parametrize(("kind", "direction", "attributes"), CASES)
def test_the_numbers_stay(kind: str, direction: str, attributes: dict[str, int]) -> None:
    for length, batch, states in ((1, 1, True), (19, 2, True), (20, 2, False)):
        module = recurrent(kind, length, batch, states=states, direction=direction, **attributes)
        before = clone_module(module)
        assert FormRecurrences().run(module, PassContext(supports=recurrences_only))
        verify(module)
        assert sum(item.name == RECURRENCE for item in module.walk()) == (2 if direction == "bidirectional" else 1)
        inputs = feeds(module)
        assert_same(run(before, inputs), computed(module, inputs))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_sequences_of_different_lengths(kind: str) -> None:
    module = recurrent(kind, 19, 3, direction="bidirectional", lengths=True)
    before = clone_module(module)
    assert FormRecurrences().run(module, PassContext(supports=recurrences_only))
    inputs = {**feeds(module), "lengths": np.array([19, 2, 7], np.int32)}
    assert_same(run(before, inputs), computed(module, inputs))


def test_a_batch_of_one_may_come_first() -> None:
    """Which onnxruntime does not run: the other order of the axes is the oracle."""
    module, other = (recurrent("LSTM", 18, 1, **layout) for layout in ({"layout": 1}, {}))
    assert FormRecurrences().run(module, PassContext(supports=recurrences_only))
    inputs = feeds(other)
    wanted = run(other, inputs)
    found = computed(module, {value.name: inputs[value.name].reshape(value.shape) for value in module.main.inputs})
    assert_same(wanted, {name: array.reshape(wanted[name].shape) for name, array in found.items()})


@pytest.mark.parametrize(
    ("supports", "remarks"),
    [(lambda operation: None, []), (lambda operation: "no kernel", [("missed", "no kernel")])],
    ids=["the target runs it", "the target has no kernel"],
)
def test_it_stays_where(supports: object, remarks: list[tuple[str, str]]) -> None:
    module = recurrent("GRU", 20, 1)
    context = PassContext(supports=supports)  # type: ignore[arg-type]
    assert not FormRecurrences().run(module, context)
    assert [(each.status, each.reason) for each in context.remarks] == remarks
    assert [item.name for item in module.walk() if item.name.startswith("optc.rec")] == []
