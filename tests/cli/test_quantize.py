"""`optc quantize` from the command line: a model that onnxruntime runs, a table of errors, bounds with exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graph_kit import Builder

from optc.cli.app import run
from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model

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


def test_rounding_is_chosen_on_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    random = np.random.default_rng(0)
    b = Builder(x="batch,12")
    first = b("Relu", b("MatMul", b.input("x"), b.constant(random.normal(size=(12, 16)), np.float32)))
    b.graph.set_outputs([b("MatMul", first, b.constant(random.normal(size=(16, 8)), np.float32))])
    model, data = tmp_path / "model.onnx", tmp_path / "x.npy"
    onnx.save(to_onnx_model(Module(b.graph)), model)
    x = (random.normal(size=(64, 4)) @ random.normal(size=(4, 12))).astype(np.float32)
    np.save(data, x)
    (exact,) = onnxruntime.InferenceSession(str(model)).run(None, {"x": x})
    errors = {}
    for rounding in ("nearest", "gptq", "learned"):
        output = str(tmp_path / f"{rounding}.onnx")
        options = ["--calib", str(data), "--format", "int4", "--rounding", rounding, "-o", output]
        assert run(["quantize", str(model), *options]) == 0
        errors[rounding] = float(np.square(onnxruntime.InferenceSession(output).run(None, {"x": x})[0] - exact).sum())
    assert errors["gptq"] < 0.8 * errors["nearest"] and errors["learned"] < 0.5 * errors["nearest"]


def test_an_unknown_rounding_is_refused(calibration: Path, tmp_path: Path, capsys: Capture) -> None:
    assert quantize(calibration, "--rounding", "nearst", "-o", str(tmp_path / "q.onnx")) == 2
    assert "no rounding of weights is called 'nearst'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--target", "rpi4"], "--target"),
        (["--sensitivity", "hessian", "--confidence", "0.9"], "--sensitivity and --confidence"),
        (["--target", "rpi4", "--analyze"], "--target"),
    ],
)
def test_options_that_only_a_bound_reads_are_refused_without_one(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = ["quantize", "model.onnx", "--calib", "calib.npz", "-o", str(tmp_path / "out.onnx"), *options]
    assert run(argv) == 2
    assert capsys.readouterr().err == (
        f"error: {named} would not be used\n  they say how precisions are mixed, and nothing asks for that\n"
        "  hint: add --min-snr, --max-drop or --objective\n"
    )
