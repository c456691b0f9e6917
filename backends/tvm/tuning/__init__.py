"""Choose template and schedule for each workload: by estimate, or by measuring the best few points on this host."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from optc import cache
from optc.artifact.host import host_refusal, requirements_of
from optc.backends.interface import Progress
from optc.backends.tvm.codegen import load_tvm
from optc.backends.tvm.tuning import database
from optc.backends.tvm.tuning.candidates import diverse, ranked
from optc.backends.tvm.tuning.decision import Decision, Rated
from optc.backends.tvm.tuning.measure import measure
from optc.backends.tvm.tuning.workers import Task, run_isolated
from optc.backends.tvm.workload import Workload
from optc.costmodel.interface import SchedulePredictor
from optc.targets import load
from optc.targets.target import Target

CANDIDATES = 4
"""Points measured of each workload: the estimate puts the best one, or one as good, among the first few."""

TASK_SECONDS = 20.0
"""After this long the candidates of a workload, measured together, are taken to hang."""

CANDIDATE_SECONDS = 10.0
"""The same for one candidate."""


def choose(
    workloads: Sequence[Workload],
    target: Target,
    budget: float,
    threads: int,
    progress: Progress,
    *,
    remeasure: bool = False,
    schedules: SchedulePredictor | None = None,
) -> list[Decision]:
    """One decision for each workload.

    With a budget, decisions come from the schedule database. For workloads that it lacks, those that the model spends
    most time in first, the best few points by estimate are measured until `budget` seconds are over, and all decisions
    are kept with what they rest on. Where nothing can be measured, the point with the least estimated time is taken.

    Args:
        workloads: distinct ones.
        target: what for.
        budget: seconds; with 0 the database is read only where `remeasure` says so.
        threads: that the kernels will most likely run on.
        progress: shown to the user.
        remeasure: the user asked for measuring: count workloads that an earlier budget did not reach among those that
            the database lacks, and measure for any target whose code runs on this machine.
        schedules: estimates the points; None: the templates themselves.
    """
    if budget <= 0 and not remeasure:
        return [_Measurement(each, target, schedules).decision() for each in workloads]
    decisions, missing = _known(workloads, target, remeasure)
    if not missing:
        return [decision for decision in decisions if decision is not None]
    if budget <= 0 or not (runs_here(target) if remeasure else is_host(target)) or not hasattr(os, "fork"):
        return [
            _Measurement(each, target, schedules).decision() if known is None else known
            for each, known in zip(workloads, decisions, strict=True)
        ]
    with cache.measuring(lambda: progress("waiting for another process that measures", 0, 1)):
        decisions, missing = _known(workloads, target, remeasure)  # it may have measured the same
        measurements = [_Measurement(workloads[n], target, schedules, decisions[n]) for n in missing]
        others = [(workloads[n], known) for n, known in enumerate(decisions) if known is not None and n not in missing]
        seconds = sum(workload.calls * known.chosen.seconds for workload, known in others)

        def keep(measurement: _Measurement) -> None:
            database.store(database.record_of(measurement.workload, target, measurement.decision()))

        _measure(measurements, target, budget, progress, seconds, keep)
        for n, measurement in zip(missing, measurements, strict=True):
            decisions[n] = measurement.decision()
            keep(measurement)
    return [decision for decision in decisions if decision is not None]


def _known(workloads: Sequence[Workload], target: Target, remeasure: bool) -> tuple[list[Decision | None], list[int]]:
    """What the database says of each workload, and the numbers of those that are to be measured."""
    decisions = [database.find(each, target) for each in workloads]
    missing = [n for n, known in enumerate(decisions) if known is None or (remeasure and not known.settled)]
    return decisions, missing


def is_host(target: Target) -> bool:
    """Whether kernels for a target can be timed in this process."""
    return bool(target.llvm) and dict(target.llvm) == dict(load("cpu").llvm)


def runs_here(target: Target) -> bool:
    """Whether this machine runs code for a processor, be it another one or not."""
    return bool(target.llvm) and (is_host(target) or host_refusal(requirements_of(target), target.name) is None)


class _Measurement:
    """The candidates of one workload, and what is known of them by now."""

    def __init__(
        self, workload: Workload, target: Target, schedules: SchedulePredictor | None, known: Decision | None = None
    ) -> None:
        self.workload = workload
        self._known = known
        group = workload.group
        self._points = ranked(workload.templates, group, target, schedules)
        candidates = diverse(self._points, CANDIDATES)
        if known is not None and known.chosen.choice not in candidates:
            candidates.append(known.chosen.choice)
        seconds = {choice: predicted for predicted, choice in self._points}
        self.rated = [
            Rated(choice, seconds[choice] if choice in seconds else self._points[-1][0]) for choice in candidates
        ]

    @property
    def predicted_seconds(self) -> float:
        """One core's time in one run of the model with the point that is best by estimate, measured if it was."""
        return self.workload.calls * self.rated[0].seconds

    @property
    def seconds(self) -> float:
        """The same with the best point that is known by now."""
        return self.workload.calls * self.decision().chosen.seconds

    def task(self, target: Target, number: int | None = None) -> Task:
        """Measures all candidates in turn, or only one."""
        choices = [each.choice for each in self.rated]
        return partial(measure, self.workload.group, choices if number is None else [choices[number]], target)

    def note(self, number: int, seconds: float | None) -> None:
        """Keep a candidate's time; None: it failed."""
        self.rated[number] = replace(self.rated[number], measured=seconds, failed=seconds is None)

    def decision(self) -> Decision:
        """What follows; where all candidates fail, the best point by estimate that was not among them."""
        rated = list(self.rated)
        if self._known is not None and not any(each.tried for each in rated):
            return self._known
        if all(each.failed for each in rated):
            tried = [each.choice for each in rated]
            rated += [Rated(choice, seconds) for seconds, choice in self._points if choice not in tried][:1]
        return Decision.of(rated, len(self._points))


def _measure(
    measurements: Sequence[_Measurement],
    target: Target,
    budget: float,
    progress: Progress,
    known: float,
    keep: Callable[[_Measurement], None],
) -> None:
    """Measure until the budget is over, the candidates of a workload together; where that fails, each by itself.

    Args:
        measurements: take the times.
        target: this host.
        budget: seconds.
        progress: shown to the user, with the model's time on one core.
        known: seconds that the other workloads take.
        keep: called when all candidates of a workload are known, so that nothing is lost when this process is killed.
    """
    order = sorted((each for each in measurements if len(each.rated) > 1), key=lambda each: -each.predicted_seconds)
    if not order:
        return
    load_tvm()  # once, for all children
    processes = min(2, os.cpu_count() or 1)
    failed: list[_Measurement] = []
    groups = ((number, each.task(target)) for number, each in enumerate(order))
    deadline = time.monotonic() + budget
    for done, (number, seconds) in enumerate(run_isolated(groups, processes, TASK_SECONDS, deadline), start=1):
        if seconds is None:
            failed.append(order[number])
        else:
            for candidate, each in enumerate(seconds):
                order[number].note(candidate, each)
            keep(order[number])
        before = known + sum(each.predicted_seconds for each in measurements)
        now = known + sum(each.seconds for each in measurements)
        progress("measuring schedules", done, len(order), f"{before * 1e3:.4g} → {now * 1e3:.4g} ms on one core")
    # Whatever the budget: a candidate that crashes here would crash the model, so its kind must not be chosen unseen.
    single = [(each, candidate) for each in failed for candidate in range(len(each.rated))]

    def singles() -> Iterator[tuple[int, Task]]:
        for number, (each, candidate) in enumerate(single):
            yield number, each.task(target, candidate)

    for number, seconds in run_isolated(singles(), processes, CANDIDATE_SECONDS, math.inf):
        each, candidate = single[number]
        each.note(candidate, None if seconds is None else seconds[0])
        if all(rated.tried for rated in each.rated):
            keep(each)
