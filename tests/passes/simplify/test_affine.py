"""Scales and shifts folded into weights, against onnxruntime, over groups, biases and both sides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from graph_kit import Builder
from numerics import assert_same, run

from optc.ir.clone import clone_module
from optc.ir.core import Module, Value
from optc.ir.verifier import verify
from optc.passes.base import PassContext
from optc.passes.simplify.fold_batch_norm import FoldBatchNorm

RANDOM = np.random.default_rng(7)
CHANNELS = 4


def numbers(make: Builder, *shape: int) -> Value:
    return make.constant(RANDOM.uniform(0.5, 2, shape), np.float32)


def check(make: Builder, result: Value, kinds: list[str]) -> None:
    """The numbers stay, and these operations are left."""
    make.graph.set_outputs([result])
    module = Module(make.graph)
    feeds = {value.name: RANDOM.uniform(-1, 1, value.shape).astype(np.float32) for value in module.main.inputs}
    before = run(clone_module(module), feeds)
    assert FoldBatchNorm().run(module, PassContext())
    verify(module)
    assert [item.name.removeprefix("onnx.") for item in module.main if item.name != "optc.constant"] == kinds
    assert_same(before, run(module, feeds), 1e-6)


def weighted(make: Builder, kind: str, x: Value, group: int, bias: bool) -> Value:
    per_group = CHANNELS // group
    shape = (6, per_group, 2, 2) if kind == "Conv" else (CHANNELS, 6 // group, 2, 2)
    operands = [x, numbers(make, *shape), *([numbers(make, 6)] if bias else [])]
    return make(kind, *operands, group=group)


CASES = list(itertools.product(("Conv", "ConvTranspose"), (1, 2), (False, True)))


@pytest.mark.parametrize(("kind", "group", "bias"), CASES)
def test_behind_a_convolution(kind: str, group: int, bias: bool) -> None:
    for shape in ((6, 1, 1), ()):
        make = Builder(x="1,4,5,5")
        y = weighted(make, kind, make.input("x"), group, bias)
        y = make("Mul", y, numbers(make, *shape))
        y = make("Add", numbers(make, *shape), y)
        check(make, make("Mul", y, numbers(make, *shape)), [kind])


@pytest.mark.parametrize(("kind", "group", "bias"), CASES)
def test_batch_norm_behind_a_convolution(kind: str, group: int, bias: bool) -> None:
    make = Builder(x="1,4,5,5")
    y = weighted(make, kind, make.input("x"), group, bias)
    check(make, make("BatchNormalization", y, *(numbers(make, 6) for _ in range(4)), epsilon=0.1), [kind])


@pytest.mark.parametrize(("group", "bias"), list(itertools.product((1, 2), (False, True))))
def test_in_front_of_a_convolution(group: int, bias: bool) -> None:
    for shape in ((CHANNELS, 1, 1), ()):
        make = Builder(x="1,4,5,5")
        x = make("Mul", make.input("x"), numbers(make, *shape))
        x = make("Add", x, numbers(make, *shape))
        check(make, weighted(make, "Conv", x, group, bias), ["Conv"])


@pytest.mark.parametrize("shape", [(3,), (1, 3), ()])
def test_around_a_matrix_product(shape: tuple[int, ...]) -> None:
    make = Builder(x="2,5,3")
    x = make("Add", make("Mul", make.input("x"), numbers(make, *shape)), numbers(make, *shape))
    y = make("Add", make("MatMul", x, numbers(make, 3, 3)), numbers(make, *shape))
    check(make, make("Mul", y, numbers(make, *shape)), ["MatMul", "Add"])


def test_constants_merge() -> None:
    make = Builder(x="2,3")
    x = make("Mul", make("Mul", make.input("x"), numbers(make, 3)), numbers(make))
    check(make, make("Add", make("Add", x, numbers(make)), numbers(make, 2, 3)), ["Mul", "Add"])
