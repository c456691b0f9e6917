"""The CUDA backend: one CUDA C++ source for each distinct group, compiled for the target's GPU, kept in the cache."""

from __future__ import annotations

from collections.abc import Sequence

from optc.backends.cuda import capability, kernel_cache
from optc.backends.cuda.acceptance import accepting_templates
from optc.backends.cuda.compilation import Job, candidates_of, compile_jobs
from optc.backends.cuda.kernel import CudaKernel
from optc.backends.cuda.occupancy import CAPABILITIES
from optc.backends.cuda.toolkit import check_architecture
from optc.backends.cuda.workload import architecture, kernel_key, workload_key
from optc.backends.interface import Kernel, Progress, Selection, silent
from optc.backends.tvm.backend import symbol_name
from optc.backends.tvm.group import Group
from optc.costmodel.interface import SchedulePredictor
from optc.errors import UsageError
from optc.ir.core import Operation
from optc.targets.target import Target


class CudaBackend:
    """See KernelBackend. Schedules are chosen by prediction alone: the host that compiles has no such GPU."""

    name = "cuda"
    emits = "cuda"
    schedules: SchedulePredictor | None = None

    def supports(self, operation: Operation, target: Target) -> str | None:
        """None where there is native code for the operation, else the reason why not."""
        return capability.supports(operation)

    def refuses(self, group: Group, target: Target) -> str | None:
        """See KernelBackend.refuses."""
        found = accepting_templates(group, target)
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
        """See KernelBackend.kernels; each kernel is a CudaKernel.

        Raises:
            OptcError: no CUDA compiler is installed.
            UsageError: it does not compile for the target's GPU.
        """
        return list(compile_groups(groups, target, progress))

    def tune(
        self, groups: Sequence[Group], target: Target, *, budget: float, threads: int, progress: Progress = silent
    ) -> list[Selection | str]:
        """See KernelBackend.tune: what is predicted, as nothing is measured."""
        return [
            made if isinstance(made, str) else made.selection for made in compile_groups(groups, target, progress)
        ]


def compile_groups(groups: Sequence[Group], target: Target, progress: Progress = silent) -> list[CudaKernel | str]:
    """The kernel of each group, or why there is none; equal groups share one. Raises as `CudaBackend.kernels`."""
    check_target(target)
    keys = [workload_key(group, target) for group in groups]
    made: dict[str, CudaKernel | str] = {}
    jobs: dict[str, Job] = {}
    for key, group in zip(keys, groups, strict=True):
        if key in made or key in jobs:
            continue
        found = accepting_templates(group, target)
        if isinstance(found, str):
            made[key] = found
            continue
        kernel = kernel_cache.find(kernel_key(key, target))
        if kernel is not None:
            made[key] = kernel
            continue
        candidates = candidates_of(group, found, target)
        jobs[key] = Job(symbol_name(key), group, candidates, len(candidates))
    compile_jobs(list(jobs.values()), target, lambda done, all: progress("compiling kernels", done, all))
    for key, job in jobs.items():
        assert job.kernel is not None
        kernel_cache.store(kernel_key(key, target), job.kernel, job.packings)
        made[key] = job.kernel
    return [made[key] for key in keys]


def check_target(target: Target) -> None:
    """Check that there is a compiler for a target's GPU, and that the rules of its multiprocessors are known.

    Raises:
        OptcError: there is no compiler.
        UsageError: it does not know the GPU.
    """
    arch = architecture(target)
    check_architecture(arch)
    if arch not in CAPABILITIES:
        raise UsageError(f"optc does not know the limits of {arch}", hint=f"it knows {', '.join(CAPABILITIES)}")
