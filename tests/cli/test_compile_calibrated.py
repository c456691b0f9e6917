"""`optc compile --calib`: int8 where it pays and keeps the bound, with every reason; and what goes wrong, in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_kit import model, node, value

from optc.cli.app import run
from optc.runtime import load

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of a convolution and a product, calibration samples, and the classes that it gives them."""
    folder = tmp_path_factory.mktemp("classifier")
    random = np.random.default_rng(0)
    weights = {
        "k": random.normal(size=(32, 16, 3, 3)).astype(np.float32) / 12,
        "b": random.normal(size=32).astype(np.float32),
        "m": random.normal(size=(32, 4)).astype(np.float32),
        "axes": np.array([2, 3]),
    }
    nodes = [
        node("Conv", "x k b", "c", "first", pads=[1, 1, 1, 1]),
        node("Relu", "c", "d"),
        node("ReduceMean", "d axes", "g", keepdims=0),
        node("MatMul", "g m", "y", "scores"),
    ]
    proto = model(nodes, [value("x", [1, 16, 12, 12])], [value("y", [1, 4])], weights, opset=18)
    onnx.save(proto, folder / "net.onnx")
    x = random.normal(size=(24, 16, 12, 12)).astype(np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    scores = np.concatenate([session.run(None, {"x": each[None]})[0] for each in x])
    np.savez(folder / "calibration.npz", x=x)
    np.save(folder / "labels.npy", scores.argmax(axis=1))
    return folder


def compile_(folder: Path, output: Path, *options: str, calib: str = "calibration.npz") -> int:
    arguments = ["compile", str(folder / "net.onnx"), "--calib", str(folder / calib), "-o", str(output)]
    return run([*arguments, "--tune", "0", "--threads", "1", *options])


def test_the_artifact_keeps_the_accuracy_and_explains_itself(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    labels = str(folder / "labels.npy")
    assert compile_(folder, tmp_path / "a", "--labels", labels, "--max-drop", "40%", "--json") == 0
    record = json.loads(capsys.readouterr().out)["cost"]["precision"]
    plan = json.loads((tmp_path / "a" / "plan.json").read_text())["decisions"]["precision"]
    assert [layer["name"] for layer in plan["layers"]] == ["first", "scores"]
    assert record["met"] and record["bound"] == "40 points of accuracy" and record["count"] == 2
    assert record["latency"]["basis"] == "measured"
    in_float = {layer["name"] for layer in plan["layers"] if layer["precision"] == "float"}
    assert all(layer["reason"] for layer in plan["layers"] if layer["name"] in in_float)
    assert set(record["in_float"]) == in_float and record["quantized"] == 2 - len(in_float)
    # Faster or not, what was written is the faster one of the two.
    faster = record["latency"]["int8_seconds"] < record["latency"]["float_seconds"]
    assert bool(record["quantized"]) == faster
    assert compiled_classes(tmp_path / "a", folder) == pytest.approx(np.load(folder / "labels.npy"), abs=3)
    assert run(["inspect", str(tmp_path / "a")]) == 0
    assert f"{record['quantized']} of 2 layers in int8" in capsys.readouterr().out


def compiled_classes(artifact: Path, folder: Path) -> list[int]:
    with load(artifact) as loaded:
        return [int(loaded.run({"x": each[None]})["y"].argmax()) for each in np.load(folder / "calibration.npz")["x"]]


def test_a_bound_that_no_layer_keeps(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert compile_(folder, tmp_path / "a", "--min-snr", "300") in (0, 3)
    output = capsys.readouterr()
    record = json.loads((tmp_path / "a" / "plan.json").read_text())["decisions"]["precision"]
    if record["met"]:  # nothing in int8 was faster here
        assert record["quantized"] == 0
    else:
        assert record["quantized"] == 1 and record["quality"]["snr_db"] < 300
        assert "error: the bound cannot be met" in output.err and "300 dB at every output was asked" in output.err


def test_layers_that_the_user_keeps(folder: Path, tmp_path: Path) -> None:
    assert compile_(folder, tmp_path / "a", "--keep-float", "first", "--keep-float", "scores") == 0
    layers = json.loads((tmp_path / "a" / "plan.json").read_text())["decisions"]["precision"]["layers"]
    assert [layer["reason"] for layer in layers] == ["kept in float by the user"] * 2


@pytest.mark.parametrize(
    ("options", "calib", "words"),
    [
        (["--max-drop", "1%"], "calibration.npz", "--max-drop needs --labels, and excludes --min-snr"),
        (["--keep-float", "frist"], "calibration.npz", "no layer is called 'frist'"),
        ([], "none.npz", "the calibration data cannot be read"),
        ([], "few.npz", "there are too few calibration samples"),
        ([], "nan.npz", "'x' is not finite"),
    ],
)
def test_what_goes_wrong_is_said(
    folder: Path, tmp_path: Path, capsys: Capture, options: list[str], calib: str, words: str
) -> None:
    np.savez(folder / "few.npz", x=np.zeros((2, 16, 12, 12), np.float32))
    np.savez(folder / "nan.npz", x=np.full((9, 16, 12, 12), np.nan, np.float32))
    assert compile_(folder, tmp_path / "a", *options, calib=calib) in (1, 2)
    assert words in capsys.readouterr().err and not (tmp_path / "a").exists()


def test_options_that_need_calibration(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["compile", str(folder / "net.onnx"), "-o", str(tmp_path / "a"), "--min-snr", "20"]) == 2
    assert "--min-snr needs --calib" in capsys.readouterr().err


def test_a_quantized_model_needs_none(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    quantized = tmp_path / "net.onnx"
    calib = str(folder / "calibration.npz")
    assert run(["quantize", str(folder / "net.onnx"), "--calib", calib, "-o", str(quantized)]) == 0
    capsys.readouterr()
    assert run(["compile", str(quantized), "--calib", calib, "-o", str(tmp_path / "a")]) == 1
    assert capsys.readouterr().err.startswith("error: the model is quantized already")
