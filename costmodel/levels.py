"""Where the time of a model's kernels goes: into arithmetic, and into reading from each level of memory.

What a level's traffic takes at its rate is that level's share, however well it hides behind arithmetic: on one core
slower reads are hidden less. What is left is arithmetic. A machine whose levels have other rates than when its kernels
were measured then takes each share so many times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.costmodel.interface import Candidate, Estimate
from optc.costmodel.residency import KEPT, lost_share, weights_and_values
from optc.costmodel.state import LEVELS, Rates
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
    """Seconds by level, named as the fields of Rates."""

    arithmetic: float
    inner: float
    last: float
    memory: float

    @property
    def seconds(self) -> float:
        """All of them."""
        return sum(getattr(self, name) for name in LEVELS)

    def at(self, speed: Rates) -> float:
        """Seconds on a machine whose levels are so many times as fast."""
        return sum(getattr(self, name) / getattr(speed, name) for name in LEVELS)

    @staticmethod
    def total(parts: Sequence[Spent]) -> Spent:
        """Of several kernels, one after the other."""
        return Spent(*(sum(getattr(part, name) for part in parts) for name in LEVELS))


def spent(
    candidates: Sequence[Candidate], estimates: Sequence[Estimate], target: Target, rates: Rates, threads: int = 1
) -> list[Spent]:
    """The levels of a model's kernels.

    Args:
        candidates: the kernels of the model.
        estimates: one for each, as `in_place` gives them.
        target: whose caches hold what they read and write.
        rates: of the machine for which they are estimated, one core.
        threads: that share a kernel's traffic.
    """
    if not candidates:
        return []
    inner, last = _capacities(target)
    weights, values = zip(*map(weights_and_values, candidates), strict=True)
    lost = lost_share(weights, max(values), target)
    beside = "inner" if sum(weights) + max(values) <= KEPT * inner else "last"
    found = []
    for estimate, constant, data in zip(estimates, weights, values, strict=True):
        traffic = dict.fromkeys(LEVELS, 0.0)
        traffic["memory"] += lost * constant / rates.memory
        traffic[beside] += (1.0 - lost) * constant / getattr(rates, beside)
        place = "inner" if data <= inner else "last" if data <= last else "memory"
        traffic[place] += data / getattr(rates, place)
        share = min(1.0 / threads, estimate.seconds / max(sum(traffic.values()), 1e-12))
        traffic = {name: share * seconds for name, seconds in traffic.items()}
        traffic["arithmetic"] = estimate.seconds - sum(traffic.values())
        found.append(Spent(**traffic))
    return found


def _capacities(target: Target) -> tuple[int, int]:
    """Bytes of the largest private cache and of the last one."""
    private = [cache.bytes for cache in target.caches if not cache.shared]
    return max(private, default=0), target.caches[-1].bytes if target.caches else 0


def differences(speed: Rates) -> str:
    """`memory 18% slower, arithmetic 6% faster`: what is at least 5% off; empty where nothing is."""
    parts = []
    for name, text in _NAMES.items():
        change = getattr(speed, name) - 1.0
        if abs(change) >= TOLD:
            parts.append(f"{text} {abs(change):.0%} {'faster' if change > 0 else 'slower'}")
    return ", ".join(parts)
