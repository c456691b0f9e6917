"""Offsets in one arena for buffers with known lifetimes (offline dynamic storage allocation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optc.passes.memory import greedy

ALIGNMENT = 64


@dataclass(frozen=True)
class Buffer:
    """Something that must lie in memory from step `start` up to, but not including, step `end`.

    Attributes:
        start: the first step that touches it.
        end: the step after the last that does.
        size: bytes.
    """

    start: int
    end: int
    size: int


@dataclass(frozen=True)
class MemoryPlan:
    """Where each buffer lies.

    Attributes:
        offsets: bytes from the start of the arena, one for each buffer in the order given.
        arena_bytes: the extent of the arena.
        lower_bound: bytes live at once at the worst step: no plan of this order of steps can be smaller.
        solver: the name of the solver that found it.
    """

    offsets: tuple[int, ...]
    arena_bytes: int
    lower_bound: int
    solver: str


Solver = Callable[[Sequence[Buffer]], list[int]]

SOLVERS: dict[str, Solver] = {
    "by-size": greedy.by_size,
    "by-lifetime": greedy.by_lifetime,
    "by-area": greedy.by_area,
    "by-step": greedy.by_step,
    "by-conflict": greedy.by_conflict,
}


def plan_memory(buffers: Sequence[Buffer], *, alignment: int = ALIGNMENT) -> MemoryPlan:
    """Place every buffer so that buffers which live at the same time do not overlap.

    Each solver is asked in turn until one meets the lower bound; the smallest arena wins.

    Args:
        buffers: sizes may be 0 (the offset is then 0).
        alignment: every offset is a multiple of it, and every size is rounded up to one.

    Returns:
        the plan; the same buffers give the same plan.
    """
    rounded = [Buffer(each.start, each.end, -(-each.size // alignment) * alignment) for each in buffers]
    indices = [index for index, each in enumerate(rounded) if each.size and each.start < each.end]
    problem = [rounded[index] for index in indices]
    bound = live_peak(problem)
    best: tuple[int, list[int], str] | None = None
    for name, solve in SOLVERS.items():
        offsets = solve(problem)
        height = max((offset + each.size for offset, each in zip(offsets, problem, strict=True)), default=0)
        if best is None or height < best[0]:
            best = (height, offsets, name)
        if height == bound:
            break
    assert best is not None
    placed = dict(zip(indices, best[1], strict=True))
    return MemoryPlan(tuple(placed.get(index, 0) for index in range(len(buffers))), best[0], bound, best[2])


def live_peak(buffers: Sequence[Buffer]) -> int:
    """The largest sum of sizes that are live at one step: a lower bound of every arena."""
    events = sorted(
        [(each.start, each.size) for each in buffers] + [(each.end, -each.size) for each in buffers]
    )  # at equal steps the negative sizes sort first: an end frees before a start takes
    live = peak = 0
    for _, change in events:
        live += change
        peak = max(peak, live)
    return peak
