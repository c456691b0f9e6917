"""A profile made by hand: figures that are easy to work out in the head."""

from __future__ import annotations

from typing import Any

import pytest

from optc.report.profile import Machine, Profile, join
from optc.runtime.library import StepTime

MACHINE = Machine({"f32": 100e9, "i8": 400e9}, "measured on paper", 1)
TIMES = [
    StepTime("conv1, relu1", "k0", 1, 100e-6),
    StepTime("/features/features.3/conv/conv.0/conv.0.0/Conv", "k1", 1, 50e-6),
    StepTime("not taken", "k2", 0, 0.0),
    StepTime("arena to output", "copy", 1, 10e-6),
    StepTime("det <&>\x01", "fallback_0.onnx", 1, 40e-6),
]


def _facts(
    time: StepTime, template: str, operations: list[str], flops: int, moved: int, predicted: float | None, dtype: Any
) -> dict[str, Any]:
    return {
        "label": time.label,
        "symbol": time.symbol,
        "template": template,
        "operations": operations,
        "flops": flops,
        "dtype": dtype,
        "bytes": moved,
        "predicted_seconds": predicted,
    }


FACTS = [
    _facts(TIMES[0], "conv2d", ["onnx.Conv", "onnx.Relu"], 9_000_000, 1_000_000, 80e-6, "f32"),
    _facts(TIMES[1], "conv2d", ["onnx.ConvInteger"], 24_000_000, 400_000, 75e-6, "i8"),
    _facts(TIMES[2], "pointwise", ["onnx.Neg"], 10, 80, 1e-6, "f32"),
    _facts(TIMES[3], "copy", [], 0, 100_000, None, None),
    _facts(TIMES[4], "onnxruntime", ["onnx.Det"], 0, 80_000, None, None),
]


@pytest.fixture
def profile() -> Profile:
    return Profile("net", MACHINE, 20, 220e-6, 2, join(TIMES, FACTS, MACHINE))
