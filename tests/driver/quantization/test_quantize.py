"""Calibration, analysis and mixed precision on a small network with one layer that quantization ruins."""

from __future__ import annotations

import numpy as np
import pytest
from graph_kit import Builder

from optc.driver.quantization.analysis import output_snr
from optc.driver.quantization.mixed import accuracy
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner
from optc.errors import OptcError, UsageError
from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 16)).astype(np.float32)


def quantizer(data: np.ndarray = X) -> Quantizer:
    """Three products; the second multiplies a channel that holds almost nothing by a lot."""
    b = Builder(x="batch,16")
    scale = np.ones(16, np.float32)
    scale[0] = 1e-3
    first = b.constant(RANDOM.normal(size=(16, 16)) * scale, np.float32)
    second = b.constant(RANDOM.normal(size=(16, 8)) / scale[:, None], np.float32)
    third = b.constant(RANDOM.normal(size=(8, 4)), np.float32)
    b.graph.set_outputs([b("MatMul", b("Relu", b("MatMul", b("MatMul", b.input("x"), first), second)), third)])
    model = to_onnx_model(Module(b.graph))
    return Quantizer.of(model, [{"x": part} for part in np.split(data, 4)])


def test_the_layer_that_costs_most_is_found_and_kept_in_float() -> None:
    found = quantizer()
    plan = found.plan("int8")
    errors = found.errors(plan, "int8")
    worst = min(errors.layers, key=lambda layer: layer.output_snr)
    assert worst.name == found.layers[1].name
    assert errors.first_below(errors.layers[0].chain_snr - 1.0) == worst.name
    mixture = found.within_snr(plan, "int8", 35.0)
    assert mixture.met and list(mixture.kept) == [worst.name] and len(mixture.quantized) == 2
    assert output_snr(found.module, plan, mixture.quantized, found.data) == pytest.approx(mixture.figure)
    assert errors.output_snr < 35.0 <= mixture.figure


def test_a_bound_that_no_layer_meets() -> None:
    found = quantizer()
    mixture = found.within_snr(found.plan("int4"), "int4", 200.0)
    assert not mixture.met and len(mixture.quantized) == 1 and len(mixture.kept) == 2


def test_a_drop_of_accuracy_is_bounded() -> None:
    found = quantizer()
    scores = np.concatenate([_scores(found, batch) for batch in found.data.batches()])
    labels = scores.argmax(axis=1)
    assert accuracy(found.module, found.data, labels) == 1.0
    mixture = found.within_drop(found.plan("int4"), "int4", 0.1, found.data, labels)
    assert mixture.met == (mixture.figure >= 0.9)
    with pytest.raises(UsageError, match="there are fewer labels than samples"):
        accuracy(found.module, found.data, labels[:3])


def _scores(found: Quantizer, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return Runner(found.module).run(feeds)[0]


def test_nan_is_reported_by_tensor() -> None:
    broken = X.copy()
    broken[40, 3] = np.nan
    with pytest.raises(OptcError, match=r"'x' is not finite during calibration\n  at batch 3"):
        quantizer(broken)


def test_constant_tensors_are_reported() -> None:
    assert "x" in quantizer(np.ones_like(X)).calibration.constant


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(UsageError, match="no layer is called 'nothing'"):
        quantizer().plan("int8", keep_float=["nothing"])
