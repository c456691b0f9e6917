"""The choice of schedules: what is measured, what is kept, and what a failing candidate costs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contraction_cases import GroupBuilder, blocked

from optc.backends.interface import silent
from optc.backends.tvm import (
    templates,  # noqa: F401  (registers the templates)
    tuning,
)
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Choice, KernelDefinition, Schedule, Template, templates_for
from optc.backends.tvm.tuning import choose, database
from optc.backends.tvm.tuning.candidates import diverse, ranked
from optc.backends.tvm.tuning.workers import Task, run_isolated
from optc.backends.tvm.workload import Workload, workload_key
from optc.ir.types import PLAIN
from optc.targets import Target, load


def small_workload(target: Target, filters: int = 16) -> Workload:
    builder = GroupBuilder()
    data = builder.input((1, 16, 12, 12), blocked(8))
    weight = builder.constant(np.ones((filters, 16, 3, 3), np.float32))
    group = builder.group(builder.op("onnx.Conv", data, weight, pads=(1, 1, 1, 1)), layouts=[PLAIN])
    found = templates_for(group, target)
    assert not isinstance(found, str)
    return Workload(workload_key(group, target), group, found)


def test_without_a_budget_the_estimate_decides() -> None:
    target = load("cpu")
    workload = small_workload(target)
    (decision,) = choose([workload], target, 0.0, 1, silent)
    assert decision.chosen.choice == ranked(workload.templates, workload.group, target)[0][1]
    assert decision.timed == 0 and not decision.settled
    assert decision.reason == f"least predicted time of {decision.points} points"


def test_measured_choices_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    target = load("cpu")
    workload = small_workload(target)
    seen: list[tuple] = []
    (first,) = choose([workload], target, 20.0, 1, lambda *step: seen.append(step))
    choice = first.chosen.choice
    assert choice.schedule in choice.template.space(workload.group, target)
    assert first.settled and first.timed == len(first.rated) > 1
    assert first.reason == f"fastest of {first.timed} measured of {first.points} points"
    assert first.chosen.measured == min(each.measured for each in first.rated if each.measured is not None)
    ((what, done, total, detail),) = seen
    assert (what, done, total) == ("measuring schedules", 1, 1)
    before, after = (float(each.split()[0]) for each in detail.split(" → "))
    assert after <= before and detail.endswith(" ms on one core")
    again = choose([workload], target, 20.0, 1, lambda *step: pytest.fail("measured again"), remeasure=True)
    assert again == [first]


def test_what_the_budget_did_not_reach_is_measured_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    target = load("cpu")
    workload = small_workload(target)
    (hurried,) = choose([workload], target, 1e-9, 1, silent)
    assert hurried.timed == 0 and not hurried.settled
    assert hurried.reason == f"least predicted time of {hurried.points} points"
    assert choose([workload], target, 20.0, 1, lambda *step: pytest.fail("measured")) == [hurried]
    (later,) = choose([workload], target, 20.0, 1, silent, remeasure=True)
    assert later.settled and later.timed > 1
    assert choose([workload], target, 20.0, 1, lambda *step: pytest.fail("measured again")) == [later]


def test_figures_that_are_measured_do_not_make_schedules_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibration changes what kernels are predicted to take, not how fast they are."""
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    target = load("cpu")
    workload = small_workload(target)
    (decision,) = choose([workload], target, 1e-9, 1, silent)
    calibrated = replace(target, memory_bandwidth=2 * target.memory_bandwidth)
    assert small_workload(calibrated).key != workload.key
    assert database.find(small_workload(calibrated), calibrated) == decision
    assert database.find(workload, replace(target, cores=target.cores + 1)) is None
    assert database.find(workload, replace(target, caches=())) is None


class Faulty(Template):
    """Five points of a real schedule, which first call a C function, or cannot be built; best guess first."""

    def __init__(self, real: Choice, faults: dict[int, str]) -> None:
        self.name = "faulty"
        self._real = real
        self._faults = faults

    def refuses(self, group: Group, target: Target) -> str | None:
        return None

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [(("point", 2**number),) for number in range(5)]

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        return 1.0 + schedule[0][1] / 100

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        from tvm import tirx

        definition = self._real.template.build(group, self._real.schedule, target)
        fault = self._faults.get(schedule[0][1])
        if fault == "build":
            raise ValueError("no such schedule")
        if fault is None:
            return definition
        call = tirx.Evaluate(tirx.call_extern("int32", fault))
        return replace(
            definition, function=definition.function.with_body(tirx.SeqStmt([call, definition.function.body]))
        )


@pytest.mark.parametrize("works", (True, False))
def test_candidates_that_crash_or_hang_are_not_chosen(
    works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tuning, "TASK_SECONDS", 5.0)
    monkeypatch.setattr(tuning, "CANDIDATE_SECONDS", 2.0)
    target = load("cpu")
    usual = small_workload(target)
    real = ranked(usual.templates, usual.group, target)[0][1]
    faulty = Faulty(real, {1: "abort", 2: "pause", 4: "build", **({} if works else {8: "abort"})})
    monkeypatch.setitem(Template.registry, "faulty", faulty)
    workload = replace(usual, templates=(faulty,))
    (decision,) = choose([workload], target, 20.0, 1, silent)
    failed = {dict(each.choice.schedule)["point"] for each in decision.rated if each.failed}
    assert failed == ({1, 2, 4} if works else {1, 2, 4, 8})
    assert dict(decision.chosen.choice.schedule) == {"point": 8 if works else 16}
    assert decision.timed == works and decision.settled
    assert decision.runner_up is None
    reasons = ("fastest of 1 measured of 5 points", "least predicted time of 5 points, without those that failed")
    assert decision.reason == reasons[not works]
    again = choose([workload], target, 20.0, 1, lambda *step: pytest.fail("tried again"), remeasure=True)
    assert again == [decision]


def test_kernels_for_other_cores_or_caches_are_not_reused() -> None:
    """A serial kernel that was compiled for one core must not be found by a compile for two."""
    target = replace(load("cpu"), cores=1)
    others = [replace(target, cores=2), replace(target, caches=()), replace(target, vector_bytes=16)]
    assert len({small_workload(each).key for each in (target, *others)}) == 4
    assert small_workload(replace(target, name="mine", description="same")).key == small_workload(target).key


def test_foreign_targets_are_never_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    target = replace(load("cpu"), llvm={"kind": "llvm", "mtriple": "aarch64-linux-gnu"})
    workload = small_workload(target)
    choose([workload], target, 20.0, 1, lambda *step: pytest.fail("measured"))
    assert not list(tmp_path.iterdir())


def test_candidates_differ_and_are_near_the_best() -> None:
    one, other = Template.registry["conv2d"], Template.registry["winograd"]
    timed = [(1.0, one, 8), (1.01, one, 9), (1.02, other, 9), (1.1, one, 4), (1.6, one, 1)]
    points = [(seconds, Choice(template, (("x", x),))) for seconds, template, x in timed]
    assert diverse(points, 4) == [points[0][1], points[2][1], points[3][1]]
    assert diverse([*points[:2], (5.0, points[2][1])], 4) == [points[0][1], points[2][1]]
    assert diverse(points, 1) == [points[0][1]]


def test_crashes_and_hangs_cost_one_task() -> None:
    def crash() -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def fail() -> None:
        raise ValueError("no such schedule")

    def hang() -> int:
        time.sleep(60)
        return 3

    tasks: list[Task] = [crash, lambda: 1, fail, hang, lambda: 2]

    def numbered() -> Iterator[tuple[int, Task]]:
        yield from enumerate(tasks)

    results = dict(run_isolated(numbered(), 2, 1.0, time.monotonic() + 300))
    assert results == {0: None, 1: 1, 2: None, 3: None, 4: 2}


def test_nothing_starts_after_the_deadline() -> None:
    assert list(run_isolated(iter([(0, lambda: 1)]), 2, 1.0, time.monotonic() - 1)) == []
