"""The TVM backend: one scheduled TIR function for each distinct group, compiled by LLVM, kept in the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from optc.backends.interface import Kernel, Progress, Selection, silent
from optc.backends.tvm import capability, kernel_cache
from optc.backends.tvm import templates as _templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.acceptance import accepting_templates
from optc.backends.tvm.compilation import Job, compiled
from optc.backends.tvm.group import Group
from optc.backends.tvm.tuning import choose
from optc.backends.tvm.tuning.decision import Decision, selection_of
from optc.backends.tvm.workload import Workload, kernel_key, workload_key
from optc.costmodel.interface import SchedulePredictor
from optc.ir.core import Operation
from optc.targets.target import Target


class TvmBackend:
    """See KernelBackend."""

    name = "tvm"
    emits = "objects"
    schedules: SchedulePredictor | None = None

    def supports(self, operation: Operation, target: Target) -> str | None:
        """None where there is native code for the operation, else the reason why not."""
        return capability.supports(operation)

    def refuses(self, group: Group, target: Target) -> str | None:
        """See KernelBackend.refuses."""
        found = accepting_templates(workload_key(group, target), group, target)
        return found if isinstance(found, str) else None

    def kernels(
        self,
        groups: Sequence[Group],
        target: Target,
        *,
        budget: float,
        threads: int,
        progress: Progress = silent,
        remeasure: bool = False,
    ) -> list[Kernel | str]:
        """See KernelBackend.kernels. A compile whose kernels are all in the cache does not import TVM."""
        found = _Workloads(groups, target)
        decisions = choose(
            found.workloads, target, budget, threads, progress, remeasure=remeasure, schedules=self.schedules
        )
        return found.by_group(compile_workloads(found.workloads, decisions, target, progress))

    def tune(
        self, groups: Sequence[Group], target: Target, *, budget: float, threads: int, progress: Progress = silent
    ) -> list[Selection | str]:
        """See KernelBackend.tune."""
        found = _Workloads(groups, target)
        decisions = choose(found.workloads, target, budget, threads, progress, remeasure=True, schedules=self.schedules)
        return found.by_group([selection_of(decision) for decision in decisions])


T = TypeVar("T")


class _Workloads:
    """The distinct workloads of some groups, and why the other groups are none.

    Attributes:
        workloads: in the order in which their first groups come.
    """

    def __init__(self, groups: Sequence[Group], target: Target) -> None:
        self._keys = [workload_key(group, target) for group in groups]
        self._refusals: dict[str, str] = {}
        self.workloads: list[Workload] = []
        calls = Counter(self._keys)
        first: dict[str, Group] = {}
        for key, group in zip(self._keys, groups, strict=True):
            first.setdefault(key, group)
        for key, group in first.items():
            found = accepting_templates(key, group, target)
            if isinstance(found, str):
                self._refusals[key] = found
            else:
                self.workloads.append(Workload(key, group, found, calls[key]))

    def by_group(self, made: Sequence[T]) -> list[T | str]:
        """For each group what was made of its workload, given in their order, or why it is none."""
        known = {workload.key: each for workload, each in zip(self.workloads, made, strict=True)}
        return [known[key] if key in known else self._refusals[key] for key in self._keys]


def compile_workloads(
    workloads: Sequence[Workload], decisions: Sequence[Decision], target: Target, progress: Progress
) -> list[Kernel]:
    """The kernels in order; those that the cache lacks are compiled and stored there."""
    choices = [decision.chosen.choice for decision in decisions]
    symbols = {
        workload.key: kernel_key(workload.key, choice) for workload, choice in zip(workloads, choices, strict=True)
    }
    jobs = {}
    for workload, choice in zip(workloads, choices, strict=True):
        key = symbols[workload.key]
        jobs[key] = Job(symbol_name(key), workload.group, choice.template.name, choice.schedule)
    entries = compiled(jobs, target, progress)
    return [
        kernel_cache.decode(entries[symbols[workload.key]], symbol_name(symbols[workload.key]), selection_of(decision))
        for workload, decision in zip(workloads, decisions, strict=True)
    ]


def symbol_name(key: str) -> str:
    """The C name of the kernel with a given key."""
    return f"optc_kernel_{key[:24]}"
