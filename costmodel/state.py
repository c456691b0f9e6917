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

ROUNDS = 32
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
    """What some rounds of probes saw: the fastest of each, and the median."""

    fastest: Rates
    typical: Rates


def probe(target: Target, rounds: int = ROUNDS) -> State | None:
    """Probe this machine for about 0.15 s; None where it has no caches to tell apart, or there is no C compiler.

    Args:
        target: this machine.
        rounds: of the four probes.
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
    rates = np.zeros((rounds, len(LEVELS)))
    measure(ctypes.c_void_p(start), (ctypes.c_int64 * 3)(*sizes), rounds, ctypes.c_void_p(rates.ctypes.data))
    return State(Rates(*rates.max(axis=0).tolist()), Rates(*np.median(rates, axis=0).tolist()))


def usual(states: Sequence[Rates]) -> Rates | None:
    """The median of each rate; None where there are none."""
    return Rates(*np.median([each.values() for each in states], axis=0).tolist()) if states else None


@functools.cache
def _library(vector: int) -> ctypes.CDLL:
    flags = ("-O3", "-march=native", "-ffp-contract=fast", f"-DVECTOR_BYTES={vector}")
    return native.library("optc.costmodel", "state.c", *flags)
