"""Sums of powers of two and L-Mul: against listed sets, a plain loop, and what the paper's equation says of errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from graph_kit import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from optc import targets
from optc.costmodel.analytical import AnalyticalCostModel
from optc.ir.core import Module
from optc.ir.verifier import verify
from optc.ops.onnx_export import to_onnx_model
from optc.passes.quantization.activations import activation_for
from optc.passes.quantization.formats import format_of
from optc.passes.quantization.l_mul import l_mul, offset, powers
from optc.passes.quantization.layers import layers_of
from optc.passes.quantization.plan import QuantizationPlan, QuantizedLayer
from optc.passes.quantization.powers import PowerSumFormat
from optc.passes.quantization.prices import Pricing, problem_of
from optc.passes.quantization.qdq import quantized_module
from optc.passes.quantization.schemes import scheme_of
from optc.passes.quantization.search.ilp import solve
from optc.passes.quantization.weights import QuantizedWeight, quantize_weight

SETTINGS = settings(derandomize=True, deadline=None, max_examples=40)
REALS = st.floats(-1e4, 1e4, allow_subnormal=False).map(lambda x: x if abs(x) > 1e-6 else 0.0)


def digits(number: int) -> int:
    """The fewest signed powers of two from 1 to 64 that a number is a sum of, by a search over sums."""
    reached, count = {0}, 0
    while number not in reached:
        reached |= {base + sign * 2**power for base in reached for power in range(7) for sign in (-1, 1)}
        count += 1
    return count


def test_the_numbers_are_the_sums() -> None:
    for terms in (1, 2, 3):
        format = PowerSumFormat(terms)
        every = [n for n in range(-127, 128) if digits(n) <= terms and abs(n) <= format.largest]
        assert format.numbers.tolist() == every
    assert format_of("shift1") == PowerSumFormat(1)
    assert [format_of(f"shift{terms}").largest for terms in (1, 2, 3)] == [64, 96, 112]
    assert format_of("shift2").bits == 8


@SETTINGS
@given(st.integers(1, 3), REALS.map(lambda number: number / 50))
def test_rounding_takes_the_nearest(terms: int, number: float) -> None:
    format = PowerSumFormat(terms)
    (found,) = format.round(np.array([number]))
    assert found in format.numbers
    assert abs(found - number) == np.abs(format.numbers - number).min()
    assert format.round(np.array([-number]))[0] == -found
    assert format.round(np.array([number]), "down")[0] <= min(max(number, -format.largest), format.largest)


def test_what_is_no_number_stays_and_the_rest_saturates() -> None:
    np.testing.assert_array_equal(PowerSumFormat(2).round(np.array([np.inf, -np.inf, np.nan])), [96, -96, np.nan])


@SETTINGS
@given(REALS, REALS, st.integers(1, 10))
def test_l_mul_errs_as_its_equation_says(x: float, y: float, mantissa: int) -> None:
    """Off by (2^-l - a·b) of (1 + a)(1 + b), which lies between its values at the corners of the square."""
    found, rest = float(l_mul(np.array(x), np.array(y), mantissa)), offset(mantissa)
    if x == 0 or y == 0:
        assert found == 0
        return
    assert (
        found == float(l_mul(np.array(y), np.array(x), mantissa)) == -float(l_mul(np.array(-x), np.array(y), mantissa))
    )
    assert float(l_mul(np.array(4 * x), np.array(y / 2), mantissa)) == 2 * found
    assert -(1 - rest) / 4 - 1e-12 <= found / (x * y) - 1 <= rest + 1e-12


@SETTINGS
@given(REALS, REALS)
def test_l_mul_is_a_sum_of_two_exact_products(x: float, y: float) -> None:
    p, q = float(powers(np.array(x))), float(powers(np.array(y)))
    assert abs(p) <= abs(x) < 2 * abs(p) or x == p == 0
    expected = x * q + p * (y + (offset(3) - 1) * q)
    assert float(l_mul(np.array(x), np.array(y), 3)) == pytest.approx(expected, rel=1e-12, abs=0)


def run(module: Module, **feeds: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(to_onnx_model(module).SerializeToString())
    found: np.ndarray = session.run(None, feeds)[0]
    return found


def quantized(module: Module, name: str, x: np.ndarray) -> tuple[Module, np.ndarray, QuantizedWeight, float]:
    """The module in a scheme; the numbers that its layer reads and multiplies by, and the scale of the former."""
    scheme, (layer,) = scheme_of(name), layers_of(module.main)
    weight = quantize_weight(layer, scheme)
    assert scheme.activations is not None
    how = activation_for(float(x.min()), float(x.max()), scheme.activations)
    plan = QuantizationPlan({layer.name: QuantizedLayer(layer, scheme, weight, layer.bias)}, {layer.data: how})
    made = quantized_module(module, plan)
    verify(made)
    return made, how.apply(x) / np.float32(how.scale), weight, how.scale


@pytest.mark.parametrize("name", ["l-mul-e4m3", "l-mul-e5m2"])
def test_onnxruntime_adds_mantissas(name: str) -> None:
    """A Gemm with a bias, against the equation applied to every pair of numbers."""
    b = Builder(x="5,40")
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(40, 6)), random.normal(size=6)
    product = b("Gemm", b.input("x"), b.constant(weight, np.float32), b.constant(bias, np.float32), results=("p",))
    b.graph.set_outputs([b("Relu", product)])
    x = random.normal(size=(5, 40)).astype(np.float32)
    x[0, :3] = (0, 0.25, -4)
    mantissa = scheme_of(name).mantissa
    assert mantissa is not None
    made, numbers, kept, scale = quantized(Module(b.graph), name, x)
    # Scales are no part of the numbers that are multiplied.
    products = l_mul(numbers[:, :, None], kept.numbers[None], mantissa) * kept.spread * scale
    np.testing.assert_allclose(run(made, x=x), np.maximum(products.sum(1) + bias, 0), rtol=1e-4, atol=1e-4)
    exact = numbers * scale @ (kept.numbers * kept.spread) + bias
    assert np.abs(run(made, x=x) - np.maximum(exact, 0)).max() > 0.01


def test_shift_weights_are_stored_as_bytes() -> None:
    b = Builder(x="5,40")
    weight = np.random.default_rng(0).normal(size=(40, 6))
    b.graph.set_outputs([b("MatMul", b.input("x"), b.constant(weight, np.float32))])
    x = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float32)
    made, numbers, kept, scale = quantized(Module(b.graph), "shift2", x)
    np.testing.assert_allclose(run(made, x=x), numbers @ (kept.numbers * kept.spread) * scale, rtol=1e-4, atol=1e-4)
    stored = [value.constant for op in made.main for value in op.present_operands if value.constant is not None]
    (bytes_,) = (array for array in stored if array.dtype == np.int8 and array.ndim == 2)
    assert set(np.unique(bytes_)) <= set(PowerSumFormat(2).numbers.astype(int))


@pytest.mark.parametrize(
    ("peaks", "chosen"),
    [
        ({"f32": 4e6, "i8": 8e6, "shift": 3e7}, "shift1"),
        ({"f32": 4e6, "i8": 1.6e8, "shift": 3e7}, "int8"),
        ({"f32": 4e6, "i8": 8e6}, "int8"),
    ],
)
def test_shifts_are_chosen_where_multiplications_are_slow(peaks: dict[str, float], chosen: str) -> None:
    b = Builder(x="1,400")
    weight = np.random.default_rng(0).normal(size=(400, 60))
    b.graph.set_outputs([b("MatMul", b.input("x"), b.constant(weight, np.float32))])
    layers = layers_of(b.graph)
    target = replace(targets.load("riscv32"), peak_flops=peaks)
    errors = {(layers[0].name, name): (noise,) for name, noise in (("int8", 1e-5), ("shift1", 1e-2))}
    pricing = Pricing("latency", target, AnalyticalCostModel())
    problem = problem_of(b.graph, layers, [scheme_of("int8"), scheme_of("shift1")], errors, pricing)
    assert solve(problem, 1.0)[layers[0].name] == chosen
    assert solve(problem, 1e-4)[layers[0].name] == "int8"  # the bound comes first
