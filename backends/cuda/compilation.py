"""From groups to compiled kernels: the best predicted point of each that ptxas makes without spills."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from optc.backends.cuda.kernel import CudaKernel, Facts
from optc.backends.cuda.occupancy import CAPABILITIES, residency
from optc.backends.cuda.ptx import joined_ptx, split_ptx
from optc.backends.cuda.template import CudaTemplate, Definition, Schedule
from optc.backends.cuda.toolkit import Assembled, assemble, compile_ptx
from optc.backends.cuda.workload import architecture
from optc.backends.interface import Option, Selection
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing, pack_functions
from optc.errors import InternalError
from optc.targets.target import Target

INCLUDE = '#include "optc_cuda.cuh"\n\n'
BATCH = 8  # kernels in one source: nvcc takes 0.3 s before it sees the first


@dataclass(frozen=True)
class Candidate:
    """A point of a template's space with its predicted seconds."""

    template: CudaTemplate
    schedule: Schedule
    seconds: float

    def option(self) -> Option:
        return Option(self.template.name, self.schedule, self.seconds)


@dataclass
class Job:
    """A group on the way to its kernel.

    Attributes:
        symbol: of the kernel.
        group: what it computes.
        candidates: the best first; those that spill are dropped.
        points: how many there were.
        kernel: once it is there, with its packings.
    """

    symbol: str
    group: Group
    candidates: list[Candidate]
    points: int = 0
    rejected: int = 0
    kernel: CudaKernel | None = None
    packings: dict[int, Packing] = field(default_factory=dict)


def candidates_of(group: Group, templates: Sequence[CudaTemplate], target: Target) -> list[Candidate]:
    """All points of all templates, the fastest by prediction first."""
    found = [
        Candidate(template, schedule, template.estimate(group, schedule, target))
        for template in templates
        for schedule in template.space(group, target)
    ]
    return sorted(found, key=lambda each: each.seconds)


def uncompiled(symbol: str, group: Group, candidate: Candidate, target: Target) -> CudaKernel:
    """The kernel of one point as source alone: for the emulator, which needs no CUDA."""
    definition = _built(group, candidate, target, symbol)
    option = candidate.option()
    return CudaKernel(
        symbol=symbol,
        object_code=b"",
        selection=Selection(option, None, option, 1, 0, "asked for"),
        pack=pack_functions(definition.packings),
        scratch_bytes=definition.scratch_bytes,
        in_place=definition.in_place,
        source=definition.source,
        launches=definition.launches,
    )


def compile_jobs(jobs: Sequence[Job], target: Target, done: Callable[[int, int], None]) -> None:
    """Fill in the kernels; `done(finished, all)` is called as they become ready.

    Raises:
        OptcError: no compiler, or it does not know the target.
        InternalError: every point of a group spills.
    """
    waiting = list(jobs)
    finished = 0
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        while waiting:
            batches = [waiting[start : start + BATCH] for start in range(0, len(waiting), BATCH)]
            tasks = []
            for batch in batches:
                definitions = [_definition(job, target) for job in batch]
                tasks.append(pool.submit(_compiled, definitions, target))
            spilled = []
            for batch, task in zip(batches, tasks, strict=True):
                for job, (definition, ptx, assembled) in zip(batch, task.result(), strict=True):
                    if _accept(job, definition, ptx, assembled, target):
                        finished += 1
                        done(finished, len(jobs))
                    else:
                        spilled.append(job)
            waiting = spilled


def _definition(job: Job, target: Target) -> Definition:
    if not job.candidates:
        raise InternalError(f"every schedule of the kernel {job.symbol} spills registers")
    best = job.candidates[0]
    return _built(job.group, best, target, job.symbol)


def _built(group: Group, candidate: Candidate, target: Target, symbol: str) -> Definition:
    """The code of one point. Where operands may be overwritten, the compiler is not told that nobody does."""
    made = candidate.template.build(group, candidate.schedule, target, symbol)
    names = [name for operand, result in made.in_place for name in (f"input{operand}", f"output{result}")]
    source = made.source
    for name in dict.fromkeys(names):
        source = re.sub(rf"\* __restrict__ {name}\b", f"* {name}", source)
    return replace(made, source=source)


def _compiled(definitions: Sequence[Definition], target: Target) -> list[tuple[Definition, str, Assembled]]:
    """Each definition with its own PTX and cubin."""
    arch = architecture(target)
    entries = split_ptx(compile_ptx(INCLUDE + "\n".join(each.source for each in definitions), arch))
    made = []
    for definition in definitions:
        ptx = joined_ptx([entries[launch.function] for launch in definition.launches])
        made.append((definition, ptx, assemble(ptx, arch)))
    return made


def _accept(job: Job, definition: Definition, ptx: str, assembled: Assembled, target: Target) -> bool:
    """Make the kernel of what was compiled, unless it spills."""
    chosen = job.candidates[0]
    if any(each.spill_bytes for each in assembled.resources.values()):
        job.candidates.pop(0)
        job.rejected += 1
        return False
    runner_up = job.candidates[1].option() if len(job.candidates) > 1 else None
    reason = "fastest by the target's figures"
    if job.rejected:
        reason += f" of those without spills ({job.rejected} spill)"
    selection = Selection(chosen.option(), runner_up, chosen.option(), job.points, 0, reason)
    job.packings = dict(definition.packings)
    job.kernel = CudaKernel(
        symbol=job.symbol,
        object_code=assembled.cubin,
        selection=selection,
        pack=pack_functions(job.packings),
        scratch_bytes=definition.scratch_bytes,
        in_place=definition.in_place,
        source=definition.source,
        ptx=ptx,
        launches=definition.launches,
        facts=tuple(facts_of(definition, assembled, target)),
    )
    return True


def facts_of(definition: Definition, assembled: Assembled, target: Target) -> list[Facts]:
    """What each function takes of a multiprocessor."""
    capability = CAPABILITIES[architecture(target)]
    found = []
    for launch in definition.launches:
        used = assembled.resources[launch.function]
        threads = launch.block[0] * launch.block[1] * launch.block[2]
        shared = used.shared_bytes + launch.dynamic_shared_bytes
        fits = residency(capability, threads, used.registers, shared)
        blocks = launch.grid[0] * launch.grid[1] * launch.grid[2]
        here = min(fits.blocks, -(-blocks // target.cores))
        found.append(
            Facts(
                function=launch.function,
                registers=used.registers,
                spill_bytes=used.spill_bytes,
                stack_bytes=used.stack_bytes,
                shared_bytes=shared,
                blocks_per_sm=here,
                occupancy=fits.occupancy * here / fits.blocks,
                limiter=fits.limiter if here == fits.blocks else "grid",
            )
        )
    return found
