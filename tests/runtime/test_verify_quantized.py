"""What agreement means where a model rounds to codes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_kit import model, node, value

from optc.program import TensorInfo
from optc.runtime.verify import LEAST_SNR, compare, is_quantized, verify


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


class Shifted:
    """A stand-in for an artifact whose output is what onnxruntime's integer kernels give, and some of it noise."""

    def __init__(self, proto: onnx.ModelProto, noise: float) -> None:
        self.session = onnxruntime.InferenceSession(proto.SerializeToString())
        self.inputs = (TensorInfo("x", "float32", (1, 256)),)
        self.outputs = (TensorInfo("y", "float32", (1, 64)),)
        self.noise = noise

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        (found,) = self.session.run(None, dict(inputs))
        return {"y": found + np.float32(self.noise) * np.abs(found).mean() * (-1) ** np.arange(64, dtype=np.float32)}


def deep(layers: int = 6) -> onnx.ModelProto:
    """Products with coarse codes in between, where roundings to another code grow from layer to layer."""
    random = np.random.default_rng(0)
    weights = {"s": np.float32(0.1), "z": np.uint8(128), "sw": np.float32(1 / 64), "zw": np.int8(0)}
    nodes, last = [], "x"
    for number in range(layers):
        columns = 64 if number == layers - 1 else 256
        weights[f"w{number}"] = random.integers(-8, 9, (256, columns)).astype(np.int8)
        nodes += [
            node("QuantizeLinear", f"{last} s z", f"q{number}"),
            node("DequantizeLinear", f"q{number} s z", f"d{number}"),
            node("DequantizeLinear", f"w{number} sw zw", f"k{number}"),
            node("MatMul", f"d{number} k{number}", f"m{number}" if number < layers - 1 else "y"),
        ]
        last = f"m{number}"
    return model(nodes, [value("x", [1, 256])], [value("y", [1, 64])], weights)


def test_what_onnxruntime_itself_computes_agrees() -> None:
    proto = deep()
    reference = proto.SerializeToString()
    for noise, agrees in ((0.0, True), (0.9, False)):
        result = verify(Shifted(proto, noise), reference)  # type: ignore[arg-type]
        assert result.passed == agrees and result.outputs[0].name == "y"


def test_wrong_shapes_and_nans_never_agree() -> None:
    reference = np.ones(1000, np.float32)
    broken = reference.copy()
    broken[3] = np.nan
    for found in (reference[:999], broken):
        (error,) = compare({"y": found}, {"y": reference})
        assert not error.within(1e-3, quantized=True)
