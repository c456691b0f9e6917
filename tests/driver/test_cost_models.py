"""The choice of the cost model, and that every one of them compiles."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graph_kit import Builder

import optc
from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate, SchedulePoint
from optc.costmodel.skipping import SkippingCostModel
from optc.driver.collection.networks import random_network
from optc.driver.cost_models import check_cost_model, cost_model, schedule_predictor
from optc.errors import UsageError
from optc.targets import load


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(UsageError, match="'oracle' is no cost model"):
        check_cost_model("oracle")


def test_a_machine_that_nobody_measured_gets_the_roofline() -> None:
    target = load("aarch64")
    made = cost_model("auto", target, None, 2)
    assert isinstance(made, SkippingCostModel) and isinstance(made.model, AnalyticalCostModel)
    assert schedule_predictor("auto", target) is None
    assert schedule_predictor("analytical", load("cpu")) is None


def test_only_this_machine_is_measured() -> None:
    from optc.backends import kernel_backend

    with pytest.raises(UsageError, match="kernels for 'aarch64' cannot be timed on this machine"):
        cost_model("measured", load("aarch64"), kernel_backend("tvm"), 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")
@pytest.mark.parametrize("name", ["analytical", "auto"])
def test_models_compiled_with_any_of_them_are_right(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    model = random_network(1)
    shape = [each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim]
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    onnx.save(model, tmp_path / "net.onnx")
    made = optc.compile(tmp_path / "net.onnx", tune=0, cost_model=name, threads=1)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": data})
    (result,) = made.run({"x": data}).values()
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")
def test_measured_times_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optc.backends import kernel_backend
    from optc.driver import measured

    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    target = load("cpu")
    build = Builder(x="1,16,6,6")
    result = build("Relu", build.input("x"))
    candidate = Candidate.of_operations(list(build.graph)[-1:], outside=[result])
    opaque = Candidate.of_operations([])
    model = cost_model("measured", target, kernel_backend("tvm"), 1)
    first, nothing = model.predict([candidate, opaque], target)
    assert first.basis == "measured" and first.low < first.seconds < first.high
    assert nothing.basis != "measured"
    monkeypatch.setattr(measured, "_best_seconds", lambda *_: pytest.fail("measured again"))
    again, _ = cost_model("measured", target, kernel_backend("tvm"), 1).predict([candidate, opaque], target)
    assert again == first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")
def test_the_oracle_of_schedules_times_the_most_promising_points() -> None:
    from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
    from optc.driver.measured import MeasuredSchedules

    target = load("cpu")
    build = Builder(x="1,16,6,6")
    result = build("Relu", build.input("x"))
    candidate = Candidate.of_operations(list(build.graph)[-1:], outside=[result])
    points = [SchedulePoint("pointwise", (("vectors", count),), 1e-6 * count) for count in (2, 1)]
    slower, faster = MeasuredSchedules(most=1).predict(candidate, points, target)
    assert 0 < faster < 1e-3 and slower > 1.0
