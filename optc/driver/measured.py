"""The measured cost model: every kernel that a pass asks about is built and timed on this host, and remembered."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from optc import cache
from optc.backends.tvm.codegen import load_tvm
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Choice, Template, templates_for
from optc.backends.tvm.tuning import is_host
from optc.backends.tvm.tuning.candidates import ranked
from optc.backends.tvm.tuning.workers import Task, run_isolated
from optc.backends.tvm.workload import workload_key
from optc.costmodel.interface import Candidate, CostModel, Estimate, SchedulePoint
from optc.driver.collection.building import build_choices, timing_object
from optc.driver.collection.timing import Job, inner_bytes, time_library
from optc.driver.cost_models import cost_model
from optc.errors import UsageError
from optc.ir.clone import clone_operation
from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.passes.fusion.rules import is_inlined_constant
from optc.targets.target import Target

KIND = "measured"
KERNEL_SECONDS = 60.0
"""After this long building and timing one kernel's schedules is taken to hang."""


@dataclass
class MeasuredCostModel:
    """The least time of a kernel's most promising schedules; what cannot be built keeps the other model's estimate.

    Attributes:
        target: this host.
        threads: that one inference uses; kernels are timed on one, and divided as the other model divides.
        otherwise: prices what has no kernel, and scales times to several threads.
        points: schedules of each kernel that are timed.
    """

    target: Target
    threads: int
    otherwise: CostModel
    points: int = 4
    _seconds: dict[str, float | None] = field(default_factory=dict, repr=False)

    @staticmethod
    def on_host(target: Target, threads: int) -> MeasuredCostModel:
        """Raises UsageError where kernels for the target cannot be timed here."""
        if not is_host(target) or not hasattr(os, "fork"):
            raise UsageError(
                f"kernels for '{target.name}' cannot be timed on this machine", where="--cost-model measured"
            )
        return MeasuredCostModel(target, threads, cost_model("auto", target, None, threads))

    def predict(self, candidates: Sequence[Candidate], target: Target) -> list[Estimate]:
        """See CostModel."""
        estimates = self.otherwise.predict(candidates, target)
        groups = [_group(candidate) for candidate in candidates]
        keys = [None if group is None else workload_key(group, self.target) for group in groups]
        wanted = {key: group for key, group in zip(keys, groups, strict=True) if key is not None and group is not None}
        self._measure({key: group for key, group in wanted.items() if key not in self._seconds})
        made = []
        for key, estimate in zip(keys, estimates, strict=True):
            seconds = None if key is None else self._seconds.get(key)
            if seconds is not None:
                estimate = replace(estimate, seconds=seconds, low=0.95 * seconds, high=1.05 * seconds, basis="measured")
            made.append(estimate)
        return made

    def _measure(self, groups: dict[str, Group]) -> None:
        missing = self._unknown(groups)
        if not missing:
            return
        with cache.measuring():
            self._build_and_time(self._unknown(missing))  # another process may have measured the same

    def _unknown(self, groups: dict[str, Group]) -> dict[str, Group]:
        """Those that no process has measured yet; the times of the others are taken over."""
        missing = {}
        for key, group in groups.items():
            entry = cache.get(KIND, f"{key}/{self.points}")
            if entry is None:
                missing[key] = group
            else:
                self._seconds[key] = json.loads(entry)
        return missing

    def _build_and_time(self, missing: dict[str, Group]) -> None:
        if not missing:
            return
        load_tvm()
        timing_object()
        keys = list(missing)

        def tasks() -> Iterator[tuple[int, Task]]:
            for number, key in enumerate(keys):
                yield number, partial(_best_seconds, missing[key], self.target, self.points)

        for number, seconds in run_isolated(tasks(), 1, KERNEL_SECONDS, float("inf")):
            self._seconds[keys[number]] = seconds
            cache.put(KIND, f"{keys[number]}/{self.points}", json.dumps(seconds).encode())


@dataclass
class MeasuredSchedules:
    """A SchedulePredictor that builds and times: the oracle of schedules.

    Attributes:
        most: points of a space that are timed, those with the least estimates; the others are taken to be slower.
    """

    most: int = 64

    def figures(self, target: Target) -> Target:
        """See SchedulePredictor."""
        return target

    def predict(self, candidate: Candidate, points: Sequence[SchedulePoint], target: Target) -> list[float]:
        """See SchedulePredictor."""
        group = _group(candidate)
        order = sorted(range(len(points)), key=lambda number: points[number].estimate)
        worst = [1e3 + points[number].estimate for number in range(len(points))]
        if group is None:
            return worst
        tried = order[: self.most]
        choices = [Choice(Template.registry[points[n].template], points[n].schedule) for n in tried]
        load_tvm()
        timing_object()
        tasks = iter([(0, partial(_choice_seconds, group, target, choices))])
        for _, seconds in run_isolated(tasks, 1, len(choices) * KERNEL_SECONDS, float("inf")):
            for number, each in zip(tried, seconds or [], strict=False):
                worst[number] = each
        return worst


def _best_seconds(group: Group, target: Target, points: int) -> float | None:
    found = templates_for(group, target)
    if isinstance(found, str):
        return None
    choices = [choice for _, choice in ranked(found, group, target)[:points]]
    least = min(_choice_seconds(group, target, choices))
    return least if math.isfinite(least) else None


def _choice_seconds(group: Group, target: Target, choices: Sequence[Choice]) -> list[float]:
    """The least seconds of one call of each; infinite for one that does not build."""
    seconds = [math.inf] * len(choices)
    with tempfile.TemporaryDirectory(prefix="optc-measured-") as folder:
        built = build_choices(group, target, choices, Path(folder))
        if built is None:
            return seconds
        library, kernels = built
        evicted = inner_bytes(target)
        job = Job(library, [f"kernel{number}" for number in kernels], list(kernels.values()))
        for number, each in zip(kernels, time_library(job, evicted, evicted), strict=True):
            seconds[number] = min(each.near)
    return seconds


def _group(candidate: Candidate) -> Group | None:
    """The candidate as a group of its own; None where it is none."""
    if not candidate.outputs or any(operation.graphs for operation in candidate.operations):
        return None
    inlined = [value for value in candidate.inputs if is_inlined_constant(value, candidate.operations)]
    read = [value for value in candidate.inputs if value not in set(inlined)]
    body = Graph("body", [(value.name, value.type) for value in read])
    mapping: dict[Value, Value] = dict(zip(read, body.inputs, strict=True))
    for value in inlined:
        array = value.constant
        assert array is not None
        constant = Operation(CONSTANT, (), (value.type,), {"value": array})
        mapping[value] = body.append(constant).result
    for operation in candidate.operations:
        for value in operation.present_operands:
            if value not in mapping and value.constant is not None:  # stands inside, not among the inputs
                mapping[value] = body.append(Operation(CONSTANT, (), (value.type,), {"value": value.constant})).result
        body.append(clone_operation(operation, mapping))
    body.set_outputs([mapping[value] for value in candidate.outputs], [value.name for value in candidate.outputs])
    return Group(body, frozenset(number for number, value in enumerate(read) if candidate.is_constant(value)))
