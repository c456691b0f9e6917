"""Single rules over all the cases that they tell apart, against onnxruntime."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from graph_kit import Builder
from numerics import assert_same, run

from optc.ir.clone import clone_module
from optc.ir.core import Module, Value
from optc.ir.verifier import verify
from optc.passes import registry
from optc.passes.base import PassContext


def rewritten(make: Builder, result: Value, *passes: str) -> list[str]:
    """Check that the numbers stay; the kinds of the operations that are left."""
    make.graph.set_outputs([result])
    module = Module(make.graph)
    random = np.random.default_rng(3)
    feeds = {value.name: random.uniform(-3, 3, value.shape).astype(np.float32) for value in module.main.inputs}
    before = run(clone_module(module), feeds)
    for name in passes:
        registry.get(name)().run(module, PassContext())
        verify(module)
    assert_same(before, run(module, feeds), 1e-6)
    return [item.name.removeprefix("onnx.") for item in module.main if item.name != "optc.constant"]


BOUNDS = [(-1.0, 1.0), (0.0, 2.0), (1.5, None), (None, -0.5), (2.0, 3.0), (-3.0, -2.0), (1.0, -1.0)]


@pytest.mark.parametrize(("first", "second"), list(itertools.product(BOUNDS, BOUNDS)))
def test_two_clamps_are_one(first: tuple[float | None, ...], second: tuple[float | None, ...]) -> None:
    make = Builder(x="64")
    value = make.input("x")
    for bounds in (first, second):
        value = make("Clip", value, *(None if b is None else make.constant(b, np.float32) for b in bounds))
    assert len(rewritten(make, value, "canonicalize", "dce")) <= 1


@pytest.mark.parametrize("order", [("Mul", "Add"), ("Add", "Mul"), ("Add", "Add", "Mul")])
def test_scale_and_bias_of_a_layer_normalization(order: tuple[str, ...]) -> None:
    make = Builder(x="4,8")
    random = np.random.default_rng(5)
    scale, bias = (make.constant(random.uniform(0.5, 2, 8), np.float32) for _ in range(2))
    value = make("LayerNormalization", make.input("x"), scale, bias)
    for kind in order:
        value = make(kind, value, make.constant(random.uniform(0.5, 2, 8), np.float32))
    assert rewritten(make, value, "recognize", "dce") == ["LayerNormalization"]


def test_constants_that_differ_in_one_element_stay_two() -> None:
    make = Builder(x="100")
    first = np.zeros(100)
    second = first.copy()
    second[1] = 1
    value = make("Add", make.input("x"), make.constant(first, np.float32))
    value = make("Add", value, make.constant(second, np.float32))
    module = Module(make.graph)
    assert rewritten(make, value, "cse") == ["Add", "Add"]
    assert sum(item.name == "optc.constant" for item in module.walk()) == 2


def test_shape_arithmetic_on_reals_rounds_as_the_operations_do() -> None:
    # 49 * (1/49) is below 1 in f64 and 1 in f32.
    make = Builder(x="49")
    size = make("Cast", make("Shape", make.input("x")), to=1)
    scaled = make("Mul", size, make.constant(1 / 49, np.float32))
    count = make("Cast", make("Floor", scaled), to=7)
    tiled = make("Tile", make.input("x"), count)
    assert rewritten(make, tiled, "fold-shapes", "fold", "fold-shapes", "fold", "canonicalize", "dce") == []
