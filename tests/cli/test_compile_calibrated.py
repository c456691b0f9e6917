"""`optc compile --calib`: int8 where it pays and keeps the bound, with every reason; and what goes wrong, in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_kit import model, node, value

from optc import targets
from optc.cli.app import run
from optc.errors import OptcError
from optc.runtime import load
from optc.targets.foreign import compiler_for, is_foreign

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
    assert record["latency"]["basis"] == "predicted"  # with --tune 0 nothing is measured
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


@pytest.fixture(scope="module")
def elsewhere() -> str:
    """A target that this machine cannot run, so that latencies are predicted and no test rests on a clock."""
    for name in ("rpi5", "x86-64-v3"):
        target = targets.load(name)
        if is_foreign(target):
            try:
                compiler_for(target)
            except OptcError as error:
                pytest.skip(error.what)
            return name
    raise AssertionError("this machine is of no architecture")


def decided(artifact: Path) -> dict[str, Any]:
    """What the plan of an artifact says of precisions."""
    record: dict[str, Any] = json.loads((artifact / "plan.json").read_text())["decisions"]["precision"]
    return record


@pytest.mark.parametrize(
    ("options", "asked", "best"),
    [
        (["--min-snr", "300"], "300 dB at every output", "54.8 dB"),
        (
            ["--labels", "labels.npy", "--max-drop", "0.1%"],
            "0.1 points of accuracy",
            "at most 14.01 points lost, 54.8 dB",
        ),
    ],
)
def test_a_bound_that_nothing_keeps(
    folder: Path, tmp_path: Path, capsys: Capture, elsewhere: str, options: list[str], asked: str, best: str
) -> None:
    options = [str(folder / each) if each.endswith(".npy") else each for each in options]
    assert compile_(folder, tmp_path / "a", "--target", elsewhere, "--no-verify", *options) == 3
    assert (
        f"error: the bound cannot be met\n  at {folder / 'net.onnx'}\n  {asked} was asked; the best with a layer in "
        in (message := capsys.readouterr().err)
    )
    assert f"int8 has {best}; it was written" in message
    # The layer that loses least is in int8, and what was written is that.
    record = decided(tmp_path / "a")
    assert not record["met"] and [layer["precision"] for layer in record["layers"]] == ["int8", "float"]
    assert record["layers"][0]["reason"].startswith(f"nothing keeps {asked}, this loses least, alone 54.8 dB (float: +")
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["cost"]["precision"]["quantized"] == 1


def test_the_search_says_what_each_precision_would_have_cost(folder: Path, tmp_path: Path, elsewhere: str) -> None:
    assert compile_(folder, tmp_path / "a", "--target", elsewhere, "--no-verify", "--min-snr", "45") == 0
    record = decided(tmp_path / "a")
    first, scores = record["layers"]
    assert record["met"] and (first["precision"], scores["precision"]) == ("int8", "float")
    # Alone each layer keeps less or more than the bound: only the one that keeps more is in int8.
    assert scores["snr_alone_db"] < 45 < first["snr_alone_db"]
    assert record["quality"]["snr_db"] == pytest.approx(first["snr_alone_db"], abs=0.1)
    saved = 1e6 * (scores["float_seconds"] - scores["integer_seconds"])
    alone = f"alone {scores['snr_alone_db']:.1f} dB"
    assert scores["reason"] == f"for 45 dB at every output (int8: {-saved:+.4g} µs, {alone})"
    assert [attempt["in_float"] for attempt in record["tries"] if attempt["keeps"]] == [["scores"]] * 1


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
