"""Choose a point of its template's space for each workload."""

from __future__ import annotations

from collections.abc import Sequence

from optc.backends.interface import Progress
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.workload import Workload
from optc.targets.target import Target


def choose(
    workloads: Sequence[Workload], target: Target, budget: float, threads: int, progress: Progress
) -> list[Schedule]:
    """One schedule for each workload: the point with the least estimated time."""
    chosen = []
    for workload in workloads:
        space = workload.template.space(workload.group, target)
        costs = [workload.template.estimate(workload.group, schedule, target) for schedule in space]
        chosen.append(space[costs.index(min(costs))])
    return chosen
