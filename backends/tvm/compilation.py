"""Build and compile kernels, on two processes when there are many."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from optc.backends.tvm import kernel_cache
from optc.backends.tvm.codegen import compile_kernels
from optc.backends.tvm.group import Group
from optc.backends.tvm.in_place import in_place_pairs
from optc.backends.tvm.template import Schedule, Template
from optc.targets.target import Target

FEW = 8
"""Up to so many kernels are compiled in this process: starting another one costs more than it saves."""


@dataclass(frozen=True)
class Job:
    """One kernel to be compiled."""

    symbol: str
    group: Group
    template: str
    schedule: Schedule


def compile_job(job: Job, target: Target) -> bytes:
    """The cache entry of one kernel."""
    definition = Template.registry[job.template].build(job.group, job.schedule, target)
    body = job.group.body
    pairs = in_place_pairs(definition.function, len(body.inputs), len(body.outputs))
    # LLVM may be told that parameters do not overlap only where nobody may make them.
    function = definition.function.with_attr("tirx.noalias", False) if pairs else definition.function
    return kernel_cache.encode(definition, compile_kernels({job.symbol: function}, target), pairs)


def compile_jobs(jobs: Sequence[Job], target: Target) -> Iterator[bytes]:
    """The cache entries of all jobs, in order, as they become ready."""
    if len(jobs) <= FEW or (os.cpu_count() or 1) < 2 or not hasattr(os, "fork"):
        yield from (compile_job(job, target) for job in jobs)
        return
    global _jobs, _target
    _jobs, _target = jobs, target  # forked workers see the groups without a copy
    try:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            yield from pool.imap(_compile_numbered, range(len(jobs)), chunksize=2)
    finally:
        _jobs, _target = (), None


_jobs: Sequence[Job] = ()
_target: Target | None = None


def _compile_numbered(index: int) -> bytes:
    assert _target is not None
    return compile_job(_jobs[index], _target)
