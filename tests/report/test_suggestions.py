"""What to try next: worked out from what was recorded, and nothing where nothing was."""

from __future__ import annotations

from typing import Any

import pytest

from optc.report.explanation import Explanation, explanation
from optc.report.report import tried
from optc.report.suggestions import Suggestion, suggestions

MEMORY: dict[str, Any] = {"arena_bytes": 0, "lower_bound": 0, "steps": [], "buffers": []}


def explained(command: str = "optc compile net.onnx --dim batch=1 --tune 0", **decisions: Any) -> Explanation:
    return explanation("net", "cpu", {}, command, {"source": [], "memory": MEMORY, "steps": [], **decisions})


def layer(name: str, precision: str, integer: float, real: float) -> dict[str, Any]:
    times = {"integer_seconds": integer, "float_seconds": real}
    return {"name": name, "precision": precision, "reason": "why", "snr_alone_db": 30.0, **times}


LAYERS = [layer("a", "float", 10e-6, 30e-6), layer("b", "float", 20e-6, 50e-6), layer("c", "int8", 20e-6, 60e-6)]


def precision(bound: str, tries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"format": "int8", "layers": LAYERS, "bound": bound, "tries": tries, "quantized": 1, "quality": None}


def attempt(in_float: str, keeps: bool, snr: float, drop: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"in_float": in_float.split(), "basis": "QDQ form", "keeps": keeps, "snr_db": snr, "drop": drop}


def test_nothing_is_made_up() -> None:
    assert suggestions(explained()) == []
    assert suggestions(explained(precision=precision("36 dB at every output", []))) == []


def test_a_looser_bound_says_which_layers_and_what_they_would_save() -> None:
    tries = [attempt("", False, 31.96), attempt("a", False, 33.3), attempt("a b", True, 36.1)]
    found = suggestions(explained(precision=precision("36 dB at every output", tries)))
    # 30 + 50 + 20 µs as they are; a saves 20 µs, b 30 µs.
    assert found == [
        Suggestion(
            "--min-snr 31.9",
            "2 more layers in int8 (a, b); 32.0 dB at the worst output (measured, QDQ form)",
            "−50% predicted time of the layers (100 µs to 50 µs)",
            pytest.approx(50e-6),
        ),
        Suggestion(
            "--min-snr 33.3",
            "1 more layer in int8 (b); 33.3 dB at the worst output (measured, QDQ form)",
            "−30% predicted time of the layers (100 µs to 70 µs)",
            pytest.approx(30e-6),
        ),
    ]


def test_a_looser_drop_is_the_measured_one_with_its_confidence() -> None:
    drop = {"bound": 0.01231, "text": "accuracy lost 0.40 ± 0.83 points"}
    tries = [attempt("a", False, 33.3, drop), attempt("a b", True, 36.1, {**drop, "bound": 0.004})]
    (found,) = suggestions(explained(precision=precision("0.5 points of accuracy", tries)))
    assert found.try_ == "--max-drop 1.3%"
    assert found.effect == "1 more layer in int8 (b); accuracy lost 0.40 ± 0.83 points (measured, QDQ form)"


def test_int8_for_a_model_in_float_is_an_upper_bound() -> None:
    layers = [{"name": "a", "float_seconds": 30e-6, "integer_seconds": 10e-6}]
    layers.append({"name": "b", "float_seconds": 10e-6, "integer_seconds": 12e-6})
    (found,) = suggestions(explained(int8_potential=layers))
    assert found.try_ == "optc compile net.onnx --dim batch=1 --tune 0 --calib DATA"
    assert found.effect == "int8 in up to 1 of 2 layers; conversions between them are not counted"
    assert found.gain == "at most −50% predicted time of the layers (40 µs to 20 µs, roofline)"


def test_what_was_never_measured_has_no_gain() -> None:
    step = {
        "label": "a", "symbol": "k", "template": "conv2d", "operations": ["onnx.Conv"], "flops": 1, "dtype": "f32",
        "bytes": 1, "predicted_seconds": 1e-6, "nodes": ["a"], "body": [], "reads": [], "writes": [],
    }  # fmt: skip
    kernel = {
        "symbol": "k", "template": "conv2d", "schedule": {}, "predicted_seconds": 1e-6, "measured_seconds": None,
        "runner_up": None, "candidates": 9, "timed": 4, "reason": "why",
    }  # fmt: skip
    (found,) = suggestions(explained(steps=[step], kernels=[kernel]))
    assert found.try_ == "optc tune net.onnx --dim batch=1 --budget 60s, then compile again"
    assert (
        found.effect
        == "5 of 9 schedules of 1 kernel were never measured; those kernels take 100% of the predicted time"
    )
    assert (found.gain, found.seconds) == ("", None)


def test_a_region_of_onnxruntime_is_named_with_its_reason() -> None:
    step = {
        "label": "d", "symbol": "fallback_0.onnx", "template": "onnxruntime", "operations": ["onnx.Det"], "flops": 0,
        "dtype": None, "bytes": 1, "predicted_seconds": None, "nodes": ["d"], "reads": [], "writes": [],
        "body": [{"op": "onnx.Det", "nodes": ["d"], "results": []}], "reason": "no native code for onnx.Det",
    }  # fmt: skip
    (found,) = suggestions(explained(steps=[step]))
    assert found.try_ == "export the model without Det there" and found.gain == ""
    assert found.effect == "1 region of onnxruntime would become native: no native code for onnx.Det"


def test_the_front_holds_what_nothing_beats() -> None:
    tries = [attempt("", False, 32), attempt("a", False, 31), attempt("b", False, 34), attempt("a b", True, 36.1)]
    points = tried(explained(precision=precision("36 dB at every output", tries)))
    assert [(round(point.cost), point.snr, point.chosen) for point in points] == [
        (50, 32, False),
        (80, 34, False),
        (100, 36.1, True),
    ]
