"""Times beside facts: the ratios, the totals, and what does not fit together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_kit import chain

from optc.errors import OptcError
from optc.report.profile import Machine, Profile, join, measure, middle_half
from optc.runtime import load
from optc.runtime.library import StepTime
from optc.targets.target import Target

TARGET = Target("t", "", (), cores=2, peak_flops={"f32": 5e9, "i8": 2e10}, figures={"peak_flops": "by hand"})


def test_ratios(profile: Profile) -> None:
    convolution, integer, skipped, copy, region = profile.steps
    assert convolution.ideal_seconds == pytest.approx(90e-6)
    assert convolution.efficiency == pytest.approx(0.9)
    assert convolution.flops_per_second == pytest.approx(90e9)
    assert convolution.bytes_per_second == pytest.approx(10e9)
    assert convolution.predicted_over_measured == pytest.approx(0.8)
    assert integer.efficiency == pytest.approx(1.2)  # 60 µs at the peak of its own element type
    assert (skipped.efficiency, skipped.predicted_over_measured, skipped.bytes_per_second) == (None, None, 0)
    assert (copy.efficiency, copy.predicted_over_measured) == (None, None)
    assert region.predicted_seconds is None
    assert profile.executed == (convolution, integer, copy, region)


def test_totals(profile: Profile) -> None:
    total = profile.total
    assert total.seconds == pytest.approx(200e-6)
    assert total.ideal_seconds == pytest.approx(150e-6)
    assert (total.flops, total.bytes, total.calls) == (33_000_000, 1_580_000, 4)
    assert total.predicted_seconds == pytest.approx(155e-6)
    assert profile.predicted_over_measured == pytest.approx(155 / 150)
    assert profile.overhead == pytest.approx(20e-6)
    assert profile.efficiency == pytest.approx(150 / 220)
    record = json.loads(json.dumps(profile.to_dict()))
    assert record["overhead"] == profile.overhead and len(record["steps"]) == 5
    assert record["steps"][0]["efficiency"] == pytest.approx(0.9)


def test_a_machine_has_no_more_threads_than_cores() -> None:
    assert [Machine.of(TARGET, threads).peak("f32") for threads in (1, 2, 64)] == [5e9, 1e10, 1e10]
    machine = Machine.of(TARGET, 64)
    assert (machine.threads, machine.basis) == (64, "by hand")
    assert (machine.peak("i8"), machine.peak("f16"), machine.peak(None)) == (4e10, 1e10, 1e10)


def test_facts_of_other_steps_are_refused(profile: Profile) -> None:
    times = [StepTime(step.label, step.symbol, step.calls, step.seconds) for step in profile.steps]
    with pytest.raises(OptcError) as error:
        join(times, [], profile.machine)
    assert str(error.value) == (
        "the artifact does not say what its steps compute\n"
        "  it describes 0 steps, and 5 run\n"
        "  hint: compile the model again"
    )
    with pytest.raises(OptcError, match="does not say what its steps compute\n  a step lacks 'template'"):
        join(times[:1], [{"label": times[0].label, "symbol": times[0].symbol}], profile.machine)
    with pytest.raises(OptcError, match="does not say what its steps compute\n  hint"):
        join(times[:1], [{"label": "other", "symbol": times[0].symbol}], profile.machine)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=30))
def test_the_middle_half(runs: list[int]) -> None:
    middle = middle_half(runs)
    below = sum(run < middle[0] for run in runs)
    above = sum(run > middle[-1] for run in runs)
    assert middle == sorted(middle)
    assert len(middle) >= len(runs) / 2
    assert below <= len(runs) / 4 and above <= len(runs) / 4


def test_measured_steps_fill_the_latency(build: Callable[..., Path]) -> None:
    """Real kernels in C: every step runs once a run, and together they take no longer than the run."""
    with load(build(chain("count", "square", "negate"))) as artifact:
        facts = [
            {"label": f"{name}/{index}", "symbol": name, "template": "c", "operations": [name], "flops": 1000,
             "dtype": "f32", "bytes": 8000, "predicted_seconds": 1e-6}
            for index, name in enumerate(("count", "square", "negate"))
        ]  # fmt: skip
        artifact.decisions = {"steps": facts, "threads": 3}
        profile = measure(artifact, {"x": np.ones(1000, np.float32)}, TARGET, runs=9)
    assert profile.name == "model" and profile.runs == 9 and profile.predicted_threads == 3
    assert [step.calls for step in profile.steps] == [1, 1, 1]
    assert all(step.seconds > 0 for step in profile.steps)
    assert 0 < profile.total.seconds < 3 * profile.latency
    assert replace(profile.steps[0], index=1).ideal_seconds == 1000 / 5e9


def test_an_artifact_without_facts_cannot_be_profiled(build: Callable[..., Path]) -> None:
    with load(build(chain("twice"))) as artifact, pytest.raises(OptcError, match="it describes 0 steps, and 1 run"):
        measure(artifact, {"x": np.ones(1000, np.float32)}, TARGET, runs=1)
