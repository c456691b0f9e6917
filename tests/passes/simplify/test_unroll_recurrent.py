"""LSTM and GRU taken apart give the numbers that onnxruntime gives for the whole."""

from __future__ import annotations

import pytest
from numerics import assert_same, run
from recurrent_kit import CASES, feeds, recurrent

from optc.ir.clone import clone_module
from optc.ir.verifier import verify
from optc.passes.base import PassContext
from optc.passes.simplify.unroll_recurrent import UnrollRecurrent


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
