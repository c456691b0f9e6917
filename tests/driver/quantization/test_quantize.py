"""Calibration, analysis and mixed precision on a small network with one layer that quantization ruins."""

from __future__ import annotations

import numpy as np
import pytest
from graph_kit import Builder

from optc.driver.quantization.quantize import Quantizer
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


def test_the_layer_that_costs_most_is_found() -> None:
    found = quantizer()
    plan = found.plan("int8")
    errors = found.errors(plan, "int8")
    worst = min(errors.layers, key=lambda layer: layer.output_snr)
    assert worst.name == found.layers[1].name
    assert errors.first_below(errors.layers[0].chain_snr - 1.0) == worst.name


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
