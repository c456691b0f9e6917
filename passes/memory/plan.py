"""Offsets in one arena for buffers with known lifetimes (offline dynamic storage allocation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optc.passes.memory import greedy
from optc.passes.memory.exact import pack

ALIGNMENT = 64

EXACT_NODES = 1_000_000
"""Placements that the exact search may try before the best greedy plan stands: about a second."""


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
        least: no plan is smaller than this many bytes: the lower bound, or more where the exact search proved more.
    """

    offsets: tuple[int, ...]
    arena_bytes: int
    lower_bound: int
    solver: str
    least: int

    @property
    def optimal(self) -> bool:
        """Whether no smaller arena exists for these lifetimes."""
        return self.arena_bytes == self.least


Solver = Callable[[Sequence[Buffer]], list[int]]

SOLVERS: dict[str, Solver] = {
    "by-size": greedy.by_size,
    "by-lifetime": greedy.by_lifetime,
    "by-area": greedy.by_area,
    "by-step": greedy.by_step,
    "by-conflict": greedy.by_conflict,
}


def plan_memory(
    buffers: Sequence[Buffer],
    *,
    alignment: int = ALIGNMENT,
    capacity: int | None = None,
    exact_nodes: int = EXACT_NODES,
) -> MemoryPlan:
    """Place every buffer so that buffers which live at the same time do not overlap.

    Each greedy solver is asked in turn until one meets the lower bound. Where none does, the exact search looks for
    smaller arenas: one that fits the capacity where there is one, else the least, by bisection between the bound and
    the best of them.

    Args:
        buffers: sizes may be 0 (the offset is then 0).
        alignment: every offset is a multiple of it, and every size is rounded up to one.
        capacity: bytes that are enough; None for as few as possible. Where they are not reached the best plan is
            returned all the same.
        exact_nodes: placements that the exact search may try in all.

    Returns:
        the plan; the same buffers give the same plan.
    """
    rounded = [Buffer(each.start, each.end, -(-each.size // alignment) * alignment) for each in buffers]
    indices = [index for index, each in enumerate(rounded) if each.size and each.start < each.end]
    problem = [rounded[index] for index in indices]
    bound = live_peak(problem)
    best = _greedy(problem, bound)
    least = bound
    enough = bound if capacity is None else max(bound, capacity // alignment * alignment)
    if best.height > enough:
        best, ruled_out = _exact(problem, best, enough, alignment, exact_nodes)
        least = max(least, ruled_out)
    placed = dict(zip(indices, best.offsets, strict=True))
    offsets = tuple(placed.get(index, 0) for index in range(len(buffers)))
    return MemoryPlan(offsets, best.height, bound, best.solver, least)


@dataclass(frozen=True)
class _Found:
    height: int
    offsets: Sequence[int]
    solver: str


def _greedy(problem: Sequence[Buffer], bound: int) -> _Found:
    best: _Found | None = None
    for name, solve in SOLVERS.items():
        offsets = solve(problem)
        height = height_of(problem, offsets)
        if best is None or height < best.height:
            best = _Found(height, offsets, name)
        if height == bound:
            break
    assert best is not None
    return best


def _exact(
    problem: Sequence[Buffer], best: _Found, enough: int, alignment: int, nodes: int
) -> tuple[_Found, int]:
    """A smaller plan than `best` if one is found; and the least height that is not ruled out, 0 if none was tried.

    Half of what is left of `nodes` is spent on each height.
    """
    least, low = 0, enough
    while low < best.height and nodes > 0:
        height = enough if low == enough else (low + best.height) // 2 // alignment * alignment
        packing = pack(problem, height, nodes=(nodes + 1) // 2)
        nodes -= max(1, packing.nodes)
        if packing.offsets is not None:
            best = _Found(height_of(problem, packing.offsets), packing.offsets, "exact")
            continue
        if packing.proven and low == max(least, enough):
            least = height + alignment
        low = height + alignment
    return best, least


def height_of(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Bytes up to the highest end of a buffer."""
    return max((offset + each.size for offset, each in zip(offsets, buffers, strict=True)), default=0)


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
