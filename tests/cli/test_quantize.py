"""`optc quantize` from the command line: a model that onnxruntime runs, a table of errors, bounds with exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from optc.cli.app import run

MODEL = Path(__file__).parents[2] / "samples" / "models" / "cifar10_resnet8.onnx"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.npz"
    np.savez(path, pixels=np.random.default_rng(0).normal(size=(12, 3, 32, 32)).astype(np.float32))
    return path


def quantize(calibration: Path, *options: str) -> int:
    return run(["quantize", str(MODEL), "--calib", str(calibration), *options])


def test_an_int8_model_that_onnxruntime_runs(calibration: Path, tmp_path: Path) -> None:
    output = tmp_path / "int8.onnx"
    assert quantize(calibration, "-o", str(output)) == 0
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in onnx.load(output).graph.node}
    pixels = np.load(calibration)["pixels"][:1]
    ours, reference = (
        onnxruntime.InferenceSession(str(path)).run(None, {"pixels": pixels})[0] for path in (output, MODEL)
    )
    noise = np.sum((ours - reference) ** 2) / np.sum(reference**2)
    assert 0 < noise < 0.01


def test_the_analysis_names_every_layer(calibration: Path, capsys: Capture) -> None:
    assert quantize(calibration, "--analyze", "--format", "int8", "--json") == 0
    assert json.loads(capsys.readouterr().out)
    assert quantize(calibration, "--analyze", "--format", "int8") == 0
    layers = sum(node.op_type in ("Conv", "Gemm", "MatMul") for node in onnx.load(MODEL).graph.node)
    assert sum("Conv" in line or "linear" in line for line in capsys.readouterr().out.splitlines()) >= layers


def test_a_bound_that_cannot_be_met(calibration: Path, tmp_path: Path, capsys: Capture) -> None:
    assert quantize(calibration, "--min-snr", "200", "-o", str(tmp_path / "q.onnx")) == 3
    assert "error: the bound cannot be met" in capsys.readouterr().err


def test_calibration_data_that_are_not_there(tmp_path: Path, capsys: Capture) -> None:
    assert quantize(tmp_path / "none.npz", "-o", str(tmp_path / "q.onnx")) == 1
    assert capsys.readouterr().err.startswith("error: ") and not (tmp_path / "q.onnx").exists()
