"""Where the time of a model's kernels goes: into arithmetic, and into reading from each level of memory.

What a level's traffic takes at its rate is that level's share, however well it hides behind arithmetic: on one core
slower reads are hidden less. What is left is arithmetic. A machine whose levels have other rates than when its kernels
were measured then takes each share so many times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from optc.costmodel.interface import Candidate, Estimate
from optc.costmodel.residency import KEPT, lost_share, weights_and_values, written_bytes
from optc.costmodel.state import LEVELS, PAUSE, Rates, State
from optc.targets.target import Target

TOLD = 0.05
"""By so much a rate differs before anybody is told."""

_NAMES = {
    "arithmetic": "arithmetic",
    "inner": "the private cache",
    "last": "the last cache",
    "memory": "memory",
}


@dataclass(frozen=True)
class Spent:
    """Seconds by level at the rates of a reference.

    Attributes:
        arithmetic: computing, and all that is not known to be reading or writing.
        inner: reading what a private cache holds.
        last: reading what was just written to the last cache.
        kept: reading weights that the last cache keeps from one run to the next.
        memory: reading from memory.
        written: writing results that a kernel alone finds room for in a private cache. In a model their places were
            last used a while ago, for other values.
        stored: writing results that a kernel alone finds room for in the last cache.
    """

    arithmetic: float
    inner: float
    last: float
    kept: float
    memory: float
    written: float
    stored: float

    @property
    def seconds(self) -> float:
        """All of them."""
        return sum(getattr(self, each.name) for each in fields(self))

    def at(self, state: State, reference: Rates, between: float, reuse: float) -> float:
        """Seconds on a machine in another state.

        Args:
            state: of the machine.
            reference: the rates for which the seconds hold.
            between: seconds from one run to the next, in which others take the last cache.
            reuse: the share of them between two values in one place of the arena.
        """
        rates = state.typical

        def byte(interval: float) -> float:
            kept = state.kept_after(interval)
            return kept / rates.last + (1.0 - kept) / rates.memory

        plain = sum(getattr(self, name) * getattr(reference, name) / getattr(rates, name) for name in LEVELS)
        places = self.written * reference.inner + self.stored * reference.last
        return (plain + self.kept * reference.last * byte(between) + places * byte(between * reuse)) / state.own

    @staticmethod
    def total(parts: Sequence[Spent]) -> Spent:
        """Of several kernels, one after the other."""
        return Spent(*(sum(getattr(part, each.name) for part in parts) for each in fields(Spent)))


def spent(
    candidates: Sequence[Candidate],
    estimates: Sequence[Estimate],
    target: Target,
    rates: Rates,
    threads: int = 1,
    weights: Sequence[int] | None = None,
    arena: int = 0,
) -> list[Spent]:
    """The levels of a model's kernels.

    Args:
        candidates: the kernels of the model.
        estimates: one for each, as `in_place` gives them.
        target: whose caches hold what they read and write.
        rates: of the machine for which they are estimated, one core.
        threads: that share a kernel's traffic.
        weights: bytes of each kernel's as they are stored; None: as the model has them.
        arena: bytes in which the model's values take turns.
    """
    if not candidates:
        return []
    inner, last = _capacities(target)
    constants, values = zip(*map(weights_and_values, candidates), strict=True)
    read = constants if weights is None else weights
    lost = lost_share(read, max(values), target)
    near = sum(read) + max(values) <= KEPT * inner
    found = []
    for candidate, estimate, constant, data in zip(candidates, estimates, read, values, strict=True):
        traffic = dict.fromkeys(_MOVING, 0.0)
        traffic["memory"] += lost * constant / rates.memory
        traffic["inner" if near else "kept"] += (1.0 - lost) * constant / (rates.inner if near else rates.last)
        place = "inner" if data <= inner else "last" if data <= last else "memory"
        results = written_bytes(candidate) if arena > KEPT * inner else 0
        traffic[place] += (data - results) / getattr(rates, place)
        traffic[_RESULTS[place]] += results / getattr(rates, place)
        share = min(1.0 / threads, estimate.seconds / max(sum(traffic.values()), 1e-12))
        traffic = {name: share * seconds for name, seconds in traffic.items()}
        found.append(Spent(estimate.seconds - sum(traffic.values()), **traffic))
    return found


_MOVING = ("inner", "last", "kept", "memory", "written", "stored")
_RESULTS = {"inner": "written", "last": "stored", "memory": "memory"}


def reuse_of(candidates: Sequence[Candidate], arena: int) -> float:
    """The share of a run between two values in one place of an arena of so many bytes."""
    return min(1.0, arena / max(1, sum(map(written_bytes, candidates))))


def _capacities(target: Target) -> tuple[int, int]:
    """Bytes of the largest private cache and of the last one."""
    private = [cache.bytes for cache in target.caches if not cache.shared]
    return max(private, default=0), target.caches[-1].bytes if target.caches else 0


def differences(state: State, reference: Rates) -> str:
    """`memory 18% slower, 12% of the time taken by others`: what is at least 5% off; empty where nothing is."""
    parts = []
    speed = state.typical.over(reference)
    for name, text in _NAMES.items():
        change = getattr(speed, name) - 1.0
        if abs(change) >= TOLD:
            parts.append(f"{text} {abs(change):.0%} {'faster' if change > 0 else 'slower'}")
    if state.kept <= 1.0 - TOLD:
        parts.append(f"{1.0 - state.kept:.0%} of the last cache lost within {1e3 * PAUSE:.0f} ms")
    if state.own <= 1.0 - TOLD:
        parts.append(f"{1.0 - state.own:.0%} of the time taken by others")
    return ", ".join(parts)
