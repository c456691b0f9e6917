"""The TVM backend: one scheduled TIR function for each distinct group, compiled by LLVM, kept in the cache."""

from __future__ import annotations

from collections.abc import Sequence

from optc.backends.interface import Kernel, Progress, silent
from optc.backends.tvm import capability, kernel_cache
from optc.backends.tvm import templates as _templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.acceptance import accepting_templates
from optc.backends.tvm.compilation import Job, compile_jobs
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Choice
from optc.backends.tvm.tuning import choose
from optc.backends.tvm.workload import Workload, kernel_key, workload_key
from optc.ir.core import Operation
from optc.targets.target import Target


class TvmBackend:
    """See KernelBackend."""

    name = "tvm"

    def supports(self, operation: Operation, target: Target) -> str | None:
        """None where there is native code for the operation, else the reason why not."""
        return capability.supports(operation)

    def refuses(self, group: Group, target: Target) -> str | None:
        """See KernelBackend.refuses."""
        found = accepting_templates(workload_key(group, target), group, target)
        return found if isinstance(found, str) else None

    def kernels(
        self, groups: Sequence[Group], target: Target, *, budget: float, threads: int, progress: Progress = silent
    ) -> list[Kernel | str]:
        """See KernelBackend.kernels. A compile whose kernels are all in the cache does not import TVM."""
        keys = [workload_key(group, target) for group in groups]
        workloads: dict[str, Workload] = {}
        refusals: dict[str, str] = {}
        for key, group in zip(keys, groups, strict=True):
            if key not in workloads and key not in refusals:
                found = accepting_templates(key, group, target)
                if isinstance(found, str):
                    refusals[key] = found
                else:
                    workloads[key] = Workload(key, group, found)
        choices = choose(list(workloads.values()), target, budget, threads, progress)
        kernels = compile_workloads(list(workloads.values()), choices, target, progress)
        return [kernels[key] if key in kernels else refusals[key] for key in keys]


def compile_workloads(
    workloads: Sequence[Workload], choices: Sequence[Choice], target: Target, progress: Progress
) -> dict[str, Kernel]:
    """The kernels by workload key; those that the cache lacks are compiled and stored there."""
    symbols = {
        workload.key: kernel_key(workload.key, choice) for workload, choice in zip(workloads, choices, strict=True)
    }
    entries = {key: kernel_cache.find(symbol) for key, symbol in symbols.items()}
    jobs = [
        Job(symbol_name(symbols[workload.key]), workload.group, choice.template.name, choice.schedule)
        for workload, choice in zip(workloads, choices, strict=True)
        if entries[workload.key] is None
    ]
    missing = [workload.key for workload in workloads if entries[workload.key] is None]
    for done, (key, entry) in enumerate(zip(missing, compile_jobs(jobs, target), strict=True)):
        progress("compiling kernels", done + 1, len(missing))
        kernel_cache.store(symbols[key], entry)
        entries[key] = entry
    return {
        workload.key: kernel_cache.decode(
            entries[workload.key] or b"", symbol_name(symbols[workload.key]), choice.template.name, choice.schedule
        )
        for workload, choice in zip(workloads, choices, strict=True)
    }


def symbol_name(key: str) -> str:
    """The C name of the kernel with a given key."""
    return f"optc_kernel_{key[:24]}"
