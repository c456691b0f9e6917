"""Equalized and smoothed networks: the same float function, and channels in one scale."""

from __future__ import annotations

import numpy as np
import pytest
from graph_kit import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.driver.quantization.running import Runner
from optc.ir.core import Module, Value
from optc.ir.verifier import verify
from optc.passes.quantization.equalization import equalize, pairs_of
from optc.passes.quantization.layers import layers_of
from optc.passes.quantization.sites import sites_of
from optc.passes.quantization.smoothing import divisors, smooth, strength_of

X = np.random.default_rng(0).normal(size=(4, 3, 6, 6)).astype(np.float32) * 3


def convolutions(activation: str, seed: int, groups: int) -> Module:
    """Expansion, convolution with groups, projection, and a reader of the sum."""
    random = np.random.default_rng(seed)
    b = Builder(x="batch,3,6,6")

    def conv(data: Value, outputs: int, inputs: int, size: int, **attributes: int) -> Value:
        channels = np.exp(2 * random.normal(size=(outputs, 1, 1, 1)))
        weight = b.constant(channels * random.normal(size=(outputs, inputs, size, size)), np.float32)
        bias = b.constant(random.normal(size=outputs), np.float32)
        return b("Conv", data, weight, bias, pads=(size // 2,) * 4, **attributes)

    def active(data: Value) -> Value:
        if activation == "Clip":
            return b("Clip", data, b.constant(0.0, np.float32), b.constant(6.0, np.float32))
        if activation == "Clip both":
            return b("Clip", data, b.constant(-1.0, np.float32), b.constant(4.0, np.float32))
        return b(activation, data)

    wide = active(conv(b.input("x"), 8, 3, 1))
    deep = active(conv(wide, 8, 8 // groups, 3, group=groups))
    b.graph.set_outputs([b("Relu", conv(deep, 5, 8, 1))])
    return Module(b.graph)


def products(activation: str) -> Module:
    random = np.random.default_rng(4)
    b = Builder(x="batch,6")
    first = b.constant(random.normal(size=(6, 8)) * np.exp(random.normal(size=8)), np.float32)
    second = b.constant(random.normal(size=(4, 8)), np.float32)
    hidden = b(activation, b("Gemm", b.input("x"), first, b.constant(random.normal(size=8), np.float32)))
    b.graph.set_outputs([b("Gemm", hidden, second, transB=1)])
    return Module(b.graph)


@settings(derandomize=True, deadline=None, max_examples=12)
@given(st.sampled_from(["Relu", "LeakyRelu", "Clip", "Clip both"]), st.integers(0, 99), st.sampled_from([1, 2, 8]))
def test_the_float_function_of_convolutions_stays(activation: str, seed: int, groups: int) -> None:
    module = convolutions(activation, seed, groups)
    before = Runner(module).run({"x": X})[0]
    assert len(equalize(module.main, layers_of(module.main))) == 2
    verify(module)
    after = Runner(module).run({"x": X})[0]
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())


def test_the_float_function_of_products_stays() -> None:
    module, x = products("Relu"), np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)
    before = Runner(module).run({"x": x})[0]
    assert len(equalize(module.main, layers_of(module.main))) == 1
    np.testing.assert_allclose(Runner(module).run({"x": x})[0], before, rtol=1e-4, atol=1e-4)


def test_the_ranges_on_both_sides_become_equal() -> None:
    module = products("Relu")
    equalize(module.main, layers_of(module.main))
    first, second = layers_of(module.main)
    np.testing.assert_allclose(np.abs(first.weight).max(axis=0), np.abs(second.weight).max(axis=0), rtol=1e-3)


def test_an_activation_that_factors_do_not_pass_makes_no_pair() -> None:
    module = products("Sigmoid")
    assert pairs_of(layers_of(module.main)) == []
    assert equalize(module.main, layers_of(module.main)) == []


def test_bounds_of_each_channel_belong_to_the_layer_before_them() -> None:
    module = convolutions("Clip both", 0, 8)
    count = len(sites_of(module.main, layers_of(module.main)).sources)
    equalize(module.main, layers_of(module.main))
    sites = sites_of(module.main, layers_of(module.main))
    assert len(sites.sources) == count
    assert sum(value.producer is not None and value.producer.name == "onnx.Min" for value in sites.sources) == 2


def test_observed_ranges_become_those_of_the_weights() -> None:
    module = products("Relu")
    x = np.random.default_rng(1).normal(size=(64, 6)).astype(np.float32)
    (_, second) = layers_of(module.main)
    hidden = Runner(module, [second.data]).run({"x": x})[0]
    equalize(module.main, layers_of(module.main), {second.data: np.abs(hidden).max(axis=0)})
    (_, second) = layers_of(module.main)
    reach = np.abs(Runner(module, [second.data]).run({"x": x})[0]).max(axis=0)
    np.testing.assert_allclose(reach, np.abs(second.weight).max(axis=0), rtol=1e-3)


@pytest.mark.parametrize("shared", [False, True])
def test_smoothing_keeps_the_function_and_moves_the_outliers(shared: bool) -> None:
    random = np.random.default_rng(2)
    b = Builder(x="batch,5,16")
    gamma = np.exp(1.5 * random.normal(size=16))
    normal = b("LayerNormalization", b.input("x"), b.constant(gamma, np.float32), b.constant(np.ones(16), np.float32))
    products = [b("MatMul", normal, b.constant(random.normal(size=(16, 16)), np.float32)) for _ in range(2)]
    total = b("Add", *products)
    b.graph.set_outputs([b("Add", total, normal) if shared else total])
    module = Module(b.graph)
    x = random.normal(size=(8, 5, 16)).astype(np.float32)
    before, hidden = Runner(module, [module.main.outputs[0], normal]).run({"x": x})
    reach = np.abs(hidden).max(axis=(0, 1))
    smooth(module.main, layers_of(module.main), {normal: divisors(reach, 0.5)})
    verify(module)
    data = layers_of(module.main)[0].data
    after, read = Runner(module, [module.main.outputs[0], data]).run({"x": x})
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    assert (data is normal) == (not shared)
    smoothed = np.abs(read).max(axis=(0, 1))
    assert smoothed.max() / smoothed.min() < 0.5 * reach.max() / reach.min()


def product(weight: np.ndarray, *, returned: bool = False) -> Module:
    """LayerNormalization and a product with its result, which the graph may also return."""
    channels = len(weight)
    b = Builder(x=f"batch,{channels}")
    ones = b.constant(np.ones(channels), np.float32)
    normal = b("LayerNormalization", b.input("x"), ones, b.constant(np.zeros(channels), np.float32))
    result = b("MatMul", normal, b.constant(weight, np.float32))
    b.graph.set_outputs([normal, result] if returned else [result])
    return Module(b.graph)


def test_what_the_graph_returns_is_not_scaled() -> None:
    random = np.random.default_rng(3)
    module = product(random.normal(size=(8, 4)), returned=True)
    x = random.normal(size=(16, 8)).astype(np.float32)
    before = Runner(module).run({"x": x})
    (layer,) = layers_of(module.main)
    smooth(module.main, [layer], {layer.data: np.exp(random.normal(size=8))})
    for found, wanted in zip(Runner(module).run({"x": x}), before, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_strength_of_smoothing_follows_the_outliers() -> None:
    random = np.random.default_rng(4)
    weight = random.normal(size=(32, 16)).astype(np.float32)
    (layer,) = layers_of(product(weight).main)
    rows = random.uniform(-1, 1, size=(400, 32)).astype(np.float32)
    rows[0] = 1.0
    assert strength_of(rows, np.abs(rows).max(axis=0), [layer]) == 0.0
    rows[:, 3] *= 60.0
    assert strength_of(rows, np.abs(rows).max(axis=0), [layer]) >= 0.5
