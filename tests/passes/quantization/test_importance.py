"""What errors of activations count, by the weights that read them."""

from __future__ import annotations

import numpy as np
from graph_kit import Builder

from optc.ir.core import Module, Value
from optc.passes.quantization.importance import importances
from optc.passes.quantization.layers import layers_of
from optc.passes.quantization.sites import sites_of

RANDOM = np.random.default_rng(0)


def found(b: Builder, outputs: list[Value]) -> dict[str, tuple[str, np.ndarray]]:
    b.graph.set_outputs(outputs)
    layers = layers_of(Module(b.graph).main)
    result = importances(sites_of(b.graph, layers), layers)
    return {source.name: (each.value.name, each.weights) for source, each in result.items()}


def test_the_weights_of_all_readers_add_up_by_channel() -> None:
    b = Builder(x="batch,6")
    first, second = RANDOM.normal(size=(6, 3)), RANDOM.normal(size=(6, 5))
    x = b.input("x")
    outputs = [b("MatMul", x, b.constant(each, np.float32)) for each in (first, second)]
    energy = (first**2).sum(axis=1) + (second**2).sum(axis=1)
    ((value, weights),) = found(b, outputs).values()
    assert value == "x"
    np.testing.assert_allclose(weights, energy / energy.mean(), rtol=1e-5)


def test_groups_read_their_own_channels() -> None:
    b = Builder(x="1,4,5,5")
    weight = RANDOM.normal(size=(6, 2, 3, 3))
    outputs = [b("Conv", b.input("x"), b.constant(weight, np.float32), group=2)]
    energy = np.concatenate([(part**2).sum(axis=(0, 2, 3)) for part in (weight[:3], weight[3:])])
    ((_, weights),) = found(b, outputs).values()
    np.testing.assert_allclose(weights, (energy / energy.mean()).reshape(4, 1, 1), rtol=1e-5)


def test_the_order_is_that_of_what_is_read() -> None:
    b = Builder(x="2,3,4")
    first = b("MatMul", b.input("x"), b.constant(RANDOM.normal(size=(4, 5)), np.float32))
    moved = b("Transpose", first, perm=(0, 2, 1))
    second = b("MatMul", moved, b.constant(RANDOM.normal(size=(3, 7)), np.float32))
    result = found(b, [second])
    assert {source: value for source, (value, _) in result.items()} == {"x": "x", first.name: moved.name}
    assert result[first.name][1].shape == (3,)


def test_none_where_something_else_computes_with_the_codes() -> None:
    b = Builder(x="1,4,5,5")

    def conv(value: Value) -> Value:
        return b("Conv", value, b.constant(RANDOM.normal(size=(4, 4, 1, 1)), np.float32))

    first = conv(b.input("x"))
    second = conv(first)
    assert set(found(b, [conv(b("Add", first, second))])) == {"x", second.users[0].result.name}
