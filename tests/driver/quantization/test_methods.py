"""What is done beyond rounding to the nearest, through the whole way from a model to a plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graph_kit import Builder

from optc.driver.quantization.analysis import output_snr
from optc.driver.quantization.post_training import Methods
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner
from optc.errors import UsageError
from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model

SAMPLES = Path(__file__).parents[3] / "samples"
RANDOM = np.random.default_rng(7)
X = (RANDOM.normal(size=(128, 6)) @ RANDOM.normal(size=(6, 24)) * np.exp(RANDOM.normal(size=24))).astype(np.float32)
BATCHES = [{"x": part} for part in np.split(X, 8)]


def model() -> bytes:
    random = np.random.default_rng(8)
    b = Builder(x="batch,24")
    first = b("Gemm", b.input("x"), b.constant(random.normal(size=(24, 32)), np.float32))
    hidden = b("Relu", first)
    channels = np.exp(1.5 * random.normal(size=(32, 1)))
    second = b("MatMul", hidden, b.constant(channels * random.normal(size=(32, 24)), np.float32))
    b.graph.set_outputs([second])
    return to_onnx_model(Module(b.graph)).SerializeToString()


def error(quantizer: Quantizer, scheme: str, methods: Methods | None = None) -> float:
    exact = Quantizer.of(model(), BATCHES)
    found = Runner(quantizer.write(quantizer.plan(scheme, methods))).run({"x": X})[0]
    return float(np.square(found - Runner(exact.module).run({"x": X})[0]).mean())


@pytest.mark.parametrize("scheme", ["int4", "int3/float", "int4-weights", "fp4"])
def test_gptq_errs_less_than_the_nearest_numbers(scheme: str) -> None:
    quantizer = Quantizer.of(model(), BATCHES)
    assert error(quantizer, scheme, Methods(rounding="gptq")) < 0.8 * error(quantizer, scheme)


def test_smoothing_lets_unequal_channels_share_a_scale() -> None:
    assert error(Quantizer.of(model(), BATCHES, smooth=True), "int8") < 0.8 * error(
        Quantizer.of(model(), BATCHES), "int8"
    )


@pytest.mark.parametrize("seed", range(3))
def test_smoothing_takes_nothing_from_what_was_well_scaled(seed: int) -> None:
    random = np.random.default_rng(seed)
    b = Builder(x="batch,24")
    b.graph.set_outputs([b("MatMul", b.input("x"), b.constant(random.normal(size=(24, 16)), np.float32))])
    model = to_onnx_model(Module(b.graph)).SerializeToString()
    x = random.normal(size=(256, 24)).astype(np.float32) * np.exp(random.normal(size=24) / 4).astype(np.float32)
    batches = [{"x": part} for part in np.split(x, 8)]
    errors = []
    for smooth in (False, True):
        quantizer = Quantizer.of(model, batches, smooth=smooth)
        found = Runner(quantizer.write(quantizer.plan("int8"))).run({"x": x})[0]
        errors.append(np.square(found - Runner(Quantizer.of(model, batches).module).run({"x": x})[0]).mean())
    assert errors[1] <= 1.02 * errors[0]


def test_equalization_keeps_the_float_function() -> None:
    plain, equalized = Quantizer.of(model(), BATCHES), Quantizer.of(model(), BATCHES, equalize=True)
    before, after = (Runner(each.module).run({"x": X})[0] for each in (plain, equalized))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())
    assert not np.array_equal(plain.layers[0].weight, equalized.layers[0].weight)


def test_an_unknown_rounding_is_refused() -> None:
    with pytest.raises(UsageError, match="no rounding of weights is called 'lerned'"):
        Quantizer.of(model(), BATCHES).plan("int4", Methods(rounding="lerned"))


def test_formats_side_by_side_err_as_their_mantissas_say() -> None:
    with np.load(SAMPLES / "data" / "cifar10_test_500.npz") as file:
        pixels = file["images"][:16].astype(np.float32)
    quantizer = Quantizer.of(SAMPLES / "models" / "cifar10_resnet8.onnx", [{"pixels": pixels}])
    found = []
    for scheme in ("int8", "fp8-e4m3", "fp8-e5m2"):
        plan = quantizer.plan(scheme)
        found.append(output_snr(quantizer.module, plan, list(plan.layers), quantizer.data))
    # Three mantissa bits against two: about six decibels.
    assert found[0] > found[1] + 3.0 and found[1] > found[2] + 3.0 and found[2] > 8.0
