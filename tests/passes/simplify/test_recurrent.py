"""Recurrent operations that have the batch first give the numbers of ONNX's own reference."""

from __future__ import annotations

import numpy as np
import pytest
from numerics import assert_same, run
from onnx.reference import ReferenceEvaluator
from onnx_kit import model, node, value

from optc.frontends.onnx_frontend import load
from optc.passes.base import PassContext
from optc.passes.simplify.canonicalize import Canonicalize

BATCH, STEPS, WIDTH, HIDDEN = 2, 3, 4, 5


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_batch_first(kind: str, gates: int) -> None:
    random = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return random.uniform(-1, 1, shape).astype(np.float32)

    weights = {
        "w": array(1, gates * HIDDEN, WIDTH),
        "r": array(1, gates * HIDDEN, HIDDEN),
        "b": array(1, 2 * gates * HIDDEN),
        "h": array(BATCH, 1, HIDDEN),
    }
    made = model(
        [node(kind, "x w r b - h", "y last", hidden_size=HIDDEN, layout=1)],
        [value("x", [BATCH, STEPS, WIDTH])],
        ["y", "last"],
        weights,
    )
    module = load(made)
    assert Canonicalize().run(module, PassContext())
    assert not any(operation.attributes.get("layout") for operation in module.main)
    x = array(BATCH, STEPS, WIDTH)
    names = [item.name for item in made.graph.output]
    expected = dict(zip(names, ReferenceEvaluator(made).run(None, {"x": x}), strict=True))
    assert_same(expected, run(module, {"x": x}))
