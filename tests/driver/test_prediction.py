"""A model's prediction is the sum of its kernels', and says what it rests on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optc import targets
from optc.cli.app import run
from optc.errors import UsageError
from optc.frontends import load_model

MODEL = str(Path(__file__).parents[2] / "samples" / "models" / "cifar10_resnet8.onnx")
Capture = pytest.CaptureFixture[str]


def predicted(target: str, capsys: Capture) -> Any:
    assert run(["costmodel", "predict", MODEL, "--target", target, "--dim", "batch=1", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("target", ["x86-64-v3", "rpi4"])
def test_kernels_add_up(target: str, capsys: Capture):
    found = predicted(target, capsys)
    kernels = found["kernels"]
    for total, part in (("latency_ms", "seconds"), ("p05", "low"), ("p95", "high"), ("energy_mJ", "joules")):
        assert found[total] == pytest.approx(1e3 * sum(kernel[part] for kernel in kernels))
    assert found["p05"] < found["latency_ms"] < found["p95"]
    assert 0 < found["confidence"] <= 1
    convolutions = sum(kernel["operations"].count("onnx.Conv") for kernel in kernels)
    source = load_model(MODEL, None, {"batch": 1}).module
    assert convolutions == sum(operation.name == "onnx.Conv" for operation in source.main)
    assert found["peak_bytes"] >= 2 * 16 * 32 * 32 * 4  # two feature maps of the first stage live at once


def test_what_code_is_made_for_gets_fewer_kernels_than_operations(capsys: Capture):
    assert any(len(kernel["operations"]) > 1 for kernel in predicted("x86-64-v3", capsys)["kernels"])


def test_a_slower_target_takes_longer(capsys: Capture):
    assert targets.load("rpi4").peak_flops["f32"] < targets.load("x86-64-v3").peak_flops["f32"]
    assert predicted("rpi4", capsys)["latency_ms"] > predicted("x86-64-v3", capsys)["latency_ms"]


def test_an_unknown_target_is_refused():
    from optc.driver.prediction import predict_model

    with pytest.raises(UsageError, match="nowhere"):
        predict_model(load_model(MODEL, None, {"batch": 1}).module, "nowhere")


def test_a_model_and_a_table_are_one_too_many(capsys: Capture):
    assert run(["costmodel", "predict", MODEL, "--target", "rpi4", "--arch-csv", "a.csv"]) == 2
    assert capsys.readouterr().err == "error: give a model or --arch-csv, one of the two\n"
