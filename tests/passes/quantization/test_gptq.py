"""GPTQ against rounding to the nearest, and against all roundings of a small layer."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from graph_kit import Builder
from numpy.lib.stride_tricks import sliding_window_view

from optc.driver.quantization.data import Data
from optc.driver.quantization.grams import grams
from optc.ir.core import Module
from optc.passes.quantization.gptq import rounded
from optc.passes.quantization.layers import Layer, layers_of
from optc.passes.quantization.schemes import scheme_of
from optc.passes.quantization.weights import quantize_weight


def product_layer(rows: int, columns: int) -> tuple[Module, Layer]:
    b = Builder(x=f"batch,{rows}")
    weight = b.constant(np.random.default_rng(2).normal(size=(rows, columns)), np.float32)
    b.graph.set_outputs([b("MatMul", b.input("x"), weight)])
    module = Module(b.graph)
    return module, layers_of(module.main)[0]


def correlated(count: int, size: int) -> np.ndarray:
    random = np.random.default_rng(1)
    return random.normal(size=(count, size // 3)) @ random.normal(size=(size // 3, size)) + 0.1 * random.normal(
        size=(count, size)
    )


@pytest.mark.parametrize("name", ["int3/float", "int4-weights", "fp4", "fp8-e4m3"])
def test_the_layer_errs_less_than_with_the_nearest_numbers(name: str) -> None:
    _, layer = product_layer(96, 8)
    data, scheme = correlated(400, 96), scheme_of(name)
    exact = data @ layer.weight
    weights = quantize_weight(layer, scheme), rounded(layer, scheme, data.T @ data)
    errors = [float(np.square(data @ weight.values - exact).sum()) for weight in weights]
    assert errors[1] < 0.6 * errors[0]
    assert (weights[1].scale == weights[0].scale).all()
    np.testing.assert_array_equal(scheme.weights.round(weights[1].numbers), weights[1].numbers)


def test_it_comes_near_the_best_of_all_roundings() -> None:
    _, layer = product_layer(10, 1)
    data, scheme = correlated(100, 10), scheme_of("int3/float")
    nearest = quantize_weight(layer, scheme)
    scaled = np.asarray(layer.weight, np.float64) / nearest.spread
    low, high = (nearest.format.round(scaled, mode) for mode in ("down", "up"))

    def error(numbers: np.ndarray) -> float:
        return float(np.square(data @ (numbers * nearest.spread - layer.weight)).sum())

    every = [error(np.where(np.array(bits)[:, None], high, low)) for bits in product((0, 1), repeat=10)]
    found = error(rounded(layer, scheme, data.T @ data).numbers)
    assert found <= np.quantile(every, 0.02) and found < 0.5 * error(nearest.numbers)


def test_a_diagonal_moment_changes_nothing() -> None:
    _, layer = product_layer(32, 4)
    scheme = scheme_of("int4-weights")
    found = rounded(layer, scheme, np.diag(np.arange(32.0)))
    np.testing.assert_array_equal(found.numbers, quantize_weight(layer, scheme).numbers)


def test_moments_of_a_convolution_are_those_of_its_windows() -> None:
    b = Builder(x="batch,2,7,6")
    weight = b.constant(np.ones((3, 2, 3, 2)), np.float32)
    b.graph.set_outputs(
        [b("Conv", b.input("x"), weight, pads=(1, 0, 2, 1), strides=(2, 1), dilations=(1, 2), kernel_shape=(3, 2))]
    )
    module = Module(b.graph)
    (layer,) = layers_of(module.main)
    x = np.random.default_rng(0).normal(size=(8, 2, 7, 6)).astype(np.float32)
    found = grams(module, [layer], Data([{"x": x}], module.main.inputs))[layer.name]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, :, :, ::2]
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12).astype(np.float64)
    np.testing.assert_allclose(found, rows.T @ rows, rtol=1e-4, atol=1e-4)
    exact = np.einsum("nk,ck->", rows, layer.weight.reshape(3, -1))
    assert exact == pytest.approx(_run(module, x).sum(), rel=1e-4)


def _run(module: Module, x: np.ndarray) -> np.ndarray:
    from optc.driver.quantization.running import Runner

    return Runner(module).run({"x": x})[0]
