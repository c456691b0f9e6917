"""The state of a machine: how fast it computes and reads right now, beside the rates at which kernels were measured.

Neighbours on a shared host take last cache, memory and units of the core; heat takes the clock. Short probes see both.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from optc import native
from optc.errors import OptcError
from optc.targets.target import Target

ROUNDS = 24
PAUSE = 0.003
"""Seconds after which it is looked what the last cache still holds."""
MOST_BYTES = 1 << 28
"""Of what is read from memory: where the last cache is larger, some of it is found there."""


@dataclass(frozen=True)
class Rates:
    """Of one core.

    Attributes:
        arithmetic: fused multiply-adds of f32 in FLOP/s.
        inner: reading from the largest private cache, bytes/s.
        last: reading from the last cache what was read a millisecond before.
        memory: reading what no cache holds.
    """

    arithmetic: float
    inner: float
    last: float
    memory: float

    def over(self, other: Rates) -> Rates:
        """How many times as fast as another machine or moment."""
        return Rates(*(own / theirs for own, theirs in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, ...]:
        """In the order of the fields."""
        return tuple(getattr(self, name) for name in LEVELS)

    def to_dict(self) -> dict[str, float]:
        """As JSON."""
        return asdict(self)

    @staticmethod
    def of_dict(plain: dict[str, Any]) -> Rates:
        """What `to_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        return Rates(*(float(plain[name]) for name in LEVELS))


LEVELS = tuple(each.name for each in fields(Rates))


@dataclass(frozen=True)
class State:
    """What some rounds of probes saw.

    Attributes:
        fastest: the best round of each rate.
        typical: the median.
        kept: the share of what was read from the last cache that it still held after PAUSE.
        own: the share of time that this process had, where it wanted all; the median of the rounds, since long slices
            that others take now and then do not move the median of runs either.
    """

    fastest: Rates
    typical: Rates
    kept: float = 1.0
    own: float = 1.0

    def kept_after(self, seconds: float) -> float:
        """The share that is kept for so long: others take of what is left at an equal pace."""
        return float(self.kept ** (seconds / PAUSE))


def probe(target: Target, rounds: int = ROUNDS) -> State | None:
    """Probe this machine for about 0.25 s; None where it has no caches to tell apart, or there is no C compiler.

    Args:
        target: this machine.
        rounds: of the probes.
    """
    private = [cache.bytes for cache in target.caches if not cache.shared]
    if not private or len(target.caches) == len(private):
        return None
    vector = max(16, target.vector_bytes)
    last = target.caches[-1].bytes
    sizes = (private[-1] // 2, last // 4, min(MOST_BYTES, 2 * last))
    try:
        measure = _library(vector).optc_state
    except OptcError:
        return None
    data = np.ones(sizes[-1] + vector, np.uint8)
    start = data.ctypes.data + -data.ctypes.data % vector
    rates = np.zeros((rounds, len(LEVELS) + 2))
    rows = ctypes.c_void_p(rates.ctypes.data)
    measure(ctypes.c_void_p(start), (ctypes.c_int64 * 3)(*sizes), rounds, ctypes.c_double(PAUSE), rows)
    *fastest, _, _ = rates.max(axis=0).tolist()
    *typical, later, own = np.median(rates, axis=0).tolist()
    found = Rates(*typical)
    return State(Rates(*fastest), found, _kept(found, later), max(_LEAST, own))


def _kept(rates: Rates, later: float) -> float:
    """The share that came from the last cache of a read at the rate `later`, if the rest came from memory."""
    whole = 1.0 / rates.memory - 1.0 / rates.last
    lost = (1.0 / later - 1.0 / rates.last) / whole if whole > 0 else 0.0
    return min(1.0, max(_LEAST, 1.0 - lost))


_LEAST = 1e-3  # share, below which the probes cannot tell


def usual(states: Sequence[Rates]) -> Rates | None:
    """The median of each rate; None where there are none."""
    return Rates(*np.median([each.values() for each in states], axis=0).tolist()) if states else None


@functools.cache
def _library(vector: int) -> ctypes.CDLL:
    flags = ("-O3", "-march=native", "-ffp-contract=fast", f"-DVECTOR_BYTES={vector}")
    return native.library("optc.costmodel", "state.c", *flags)
