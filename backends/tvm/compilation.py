"""Build and compile the kernels that the cache lacks, on two processes when there are many."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optc import cache
from optc.backends.interface import Progress
from optc.backends.tvm import kernel_cache
from optc.backends.tvm.codegen import compile_kernels
from optc.backends.tvm.group import Group
from optc.backends.tvm.in_place import in_place_pairs
from optc.backends.tvm.template import Schedule, Template
from optc.processes import die_with_parent
from optc.targets.target import Target

LOG = logging.getLogger(__name__)

TOGETHER = 64
"""So many kernels are claimed at a time: what another process has claimed is left to it for now."""

FEW = 8
"""Up to so many kernels are compiled in this process: starting another one costs more than it saves."""


@dataclass(frozen=True)
class Job:
    """One kernel to be compiled."""

    symbol: str
    group: Group
    template: str
    schedule: Schedule


def compiled(jobs: Mapping[str, Job], target: Target, progress: Progress) -> dict[str, bytes]:
    """The cache entries of kernels by their keys; those that the cache lacks are compiled and stored there.

    Of several processes that need a kernel one compiles it. None waits for another while it holds a claim.

    Args:
        jobs: by `kernel_key`.
        target: what for.
        progress: shown to the user.
    """
    found = {key: kernel_cache.find(key) for key in jobs}
    missing = [key for key, entry in found.items() if entry is None]
    total, done = len(missing), 0
    contested: list[str] = []
    for start in range(0, total, TOGETHER):
        with contextlib.ExitStack() as claims:
            mine = []
            for key in missing[start : start + TOGETHER]:
                if not claims.enter_context(cache.lock(_claim(key), wait=False)):
                    contested.append(key)
                    continue
                found[key] = kernel_cache.find(key)  # another process may have made it since
                if found[key] is None:
                    mine.append(key)
            for key, entry in zip(mine, compile_jobs([jobs[key] for key in mine], target), strict=True):
                done += 1
                progress("compiling kernels", done, total)
                found[key] = entry
                _keep(key, entry)
    for key in contested:
        progress("waiting for kernels of another compile", total - len(contested), total)
        with cache.lock(_claim(key)):
            found[key] = kernel_cache.find(key)
            if found[key] is None:  # the other process failed
                found[key] = compile_job(jobs[key], target)
                _keep(key, found[key] or b"")
    return {key: entry for key, entry in found.items() if entry is not None}


def _claim(key: str) -> str:
    return f"{kernel_cache.KIND}/{key}"


def _keep(key: str, entry: bytes) -> None:
    kernel_cache.store(key, entry)
    LOG.debug("compiled kernel %s", key)


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
        with multiprocessing.get_context("fork").Pool(2, die_with_parent, (os.getpid(),)) as pool:
            yield from pool.imap(_compile_numbered, range(len(jobs)), chunksize=2)
    finally:
        _jobs, _target = (), None


_jobs: Sequence[Job] = ()
_target: Target | None = None


def _compile_numbered(index: int) -> bytes:
    assert _target is not None
    return compile_job(_jobs[index], _target)
