"""What agreement means where a model rounds to codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

from optc.runtime.verify import LEAST_SNR, compare, is_quantized


def rounding(kind: str = "QuantizeLinear") -> onnx.ModelProto:
    weights = {"s": np.float32(0.1), "z": np.uint8(3)}
    return model([node(kind, "x s z" if kind == "QuantizeLinear" else "x", "y")], [value("x", [4])], ["y"], weights)


@pytest.mark.parametrize(("kind", "expected"), [("QuantizeLinear", True), ("Relu", False)])
def test_models_that_round(kind: str, expected: bool, tmp_path: Path) -> None:
    content = rounding(kind).SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert is_quantized(content) == is_quantized(path) == expected
    (tmp_path / "empty.onnx").touch()
    assert not is_quantized(tmp_path / "empty.onnx")


@pytest.mark.parametrize(("step", "agrees"), [(0.0, True), (0.03, True), (1.0, False)])
def test_a_step_here_and_there_agrees_and_noise_does_not(step: float, agrees: bool) -> None:
    reference = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    steps = (step * (np.arange(1000) % 2)).astype(np.float32)
    (error,) = compare({"y": reference + steps}, {"y": reference})
    assert error.within(1e-3, quantized=True) == agrees == (error.snr_db >= LEAST_SNR)
    assert error.within(1e-3) == (step == 0.0)


def test_wrong_shapes_and_nans_never_agree() -> None:
    reference = np.ones(1000, np.float32)
    broken = reference.copy()
    broken[3] = np.nan
    for found in (reference[:999], broken):
        (error,) = compare({"y": found}, {"y": reference})
        assert not error.within(1e-3, quantized=True)
