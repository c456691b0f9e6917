"""The choice of schedules: what is measured, what is kept, and what a failing candidate costs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contraction_cases import GroupBuilder, blocked

from optc.backends.interface import silent
from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.template import Choice, Template, templates_for
from optc.backends.tvm.tuning import choose
from optc.backends.tvm.tuning.candidates import diverse, ranked
from optc.backends.tvm.tuning.workers import Task, run_isolated
from optc.backends.tvm.workload import Workload, workload_key
from optc.ir.types import PLAIN
from optc.targets import Target, load


def small_workload(target: Target, filters: int = 16) -> Workload:
    import numpy as np

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
    assert choose([workload], target, 0.0, 1, silent) == [ranked(workload.templates, workload.group, target)[0][1]]


def test_measured_choices_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    target = load("cpu")
    workload = small_workload(target)
    seen: list[tuple[str, int, int]] = []
    first = choose([workload], target, 20.0, 1, lambda *step: seen.append(step))
    assert first[0].schedule in first[0].template.space(workload.group, target)
    assert seen == [("measuring schedules", 1, 1)]
    assert choose([workload], target, 20.0, 1, lambda *step: pytest.fail("measured again")) == first


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

    def hang() -> None:
        time.sleep(60)

    tasks: list[Task] = [crash, lambda: 1, fail, hang, lambda: 2]

    def numbered() -> Iterator[tuple[int, Task]]:
        yield from enumerate(tasks)

    start = time.monotonic()
    results = dict(run_isolated(numbered(), 2, 1.0, start + 30))
    assert results == {0: None, 1: 1, 2: None, 3: None, 4: 2}
    assert time.monotonic() - start < 10


def test_nothing_starts_after_the_deadline() -> None:
    assert list(run_isolated(iter([(0, lambda: 1)]), 2, 1.0, time.monotonic() - 1)) == []
