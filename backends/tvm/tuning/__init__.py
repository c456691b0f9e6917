"""Choose template and schedule for each workload: by estimate, or by measuring the best few points on this host."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial

from optc.backends.interface import Progress
from optc.backends.tvm.codegen import load_tvm
from optc.backends.tvm.template import Choice
from optc.backends.tvm.tuning import database
from optc.backends.tvm.tuning.candidates import diverse, ranked
from optc.backends.tvm.tuning.measure import measure
from optc.backends.tvm.tuning.workers import Task, run_isolated
from optc.backends.tvm.workload import Workload
from optc.targets import load
from optc.targets.target import Target

CANDIDATES = 4
"""Points measured of each workload: the estimate puts the best one, or one as good, among the first few."""

TASK_SECONDS = 20.0
"""After this long a candidate is taken to hang."""


def choose(
    workloads: Sequence[Workload], target: Target, budget: float, threads: int, progress: Progress
) -> list[Choice]:
    """One choice for each workload.

    With a budget, and on this host, choices come from the schedule database; for workloads that it lacks, the longest
    first, the best few points by estimate are measured until `budget` seconds are over, and all choices are kept. Any
    other time the point with the least estimated time is taken.
    """
    if budget <= 0 or not _is_host(target) or not hasattr(os, "fork"):
        return [ranked(each.templates, each.group, target)[0][1] for each in workloads]
    chosen = [database.find(each.key) for each in workloads]
    missing = [number for number, choice in enumerate(chosen) if choice is None]
    if missing:
        for number, choice in zip(missing, _measured(workloads, missing, target, budget, progress), strict=True):
            chosen[number] = choice
            database.store(workloads[number].key, choice)
    return [choice for choice in chosen if choice is not None]


def _is_host(target: Target) -> bool:
    return bool(target.llvm) and dict(target.llvm) == dict(load("cpu").llvm)


def _measured(
    workloads: Sequence[Workload], numbers: Sequence[int], target: Target, budget: float, progress: Progress
) -> list[Choice]:
    points = {n: ranked(workloads[n].templates, workloads[n].group, target) for n in numbers}
    candidates = {n: diverse(points[n], CANDIDATES) for n in numbers}
    best = {n: points[n][0][1] for n in numbers}
    order = sorted((n for n in numbers if len(candidates[n]) > 1), key=lambda n: -points[n][0][0])
    if order:
        load_tvm()  # once, for all children

    def tasks() -> Iterator[tuple[int, Task]]:
        for n in order:
            yield n, partial(measure, workloads[n].group, candidates[n], target)

    processes = min(2, os.cpu_count() or 1)
    for done, (n, seconds) in enumerate(
        run_isolated(tasks(), processes, TASK_SECONDS, time.monotonic() + budget), start=1
    ):
        if seconds is not None:
            best[n] = candidates[n][seconds.index(min(seconds))]
        progress("measuring schedules", done, len(order))
    return [best[n] for n in numbers]
