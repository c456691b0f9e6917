"""Exact packing into a given capacity: a compiled search, restarted with other orders until one is lucky or finishes.

The search is C (`exact.c`), built on first use by the compiler that links artifacts anyway: a packing takes up to
millions of placements of a microsecond each, which Python would need minutes for, and a just-in-time compiler would be
one more dependency and seconds of its own at each start.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from optc import native
from optc.passes.memory.greedy import Interval

RESTART_NODES = 1024
"""Placements of the shortest run; one takes about a microsecond."""

SPREAD = 0.2
"""Standard deviation of the logarithm by which restarts disturb the order."""

_PACKED, _IMPOSSIBLE, _OUT_OF_MEMORY = 1, 0, -2


@dataclass(frozen=True)
class Packing:
    """What an exact search found.

    Attributes:
        offsets: one for each buffer; None when none were found.
        proven: whether the absence of offsets means that there are none.
        nodes: placements tried.
    """

    offsets: tuple[int, ...] | None
    proven: bool
    nodes: int


def pack(buffers: Sequence[Interval], capacity: int, *, nodes: int) -> Packing:
    """Offsets that fit a capacity, or the proof that there are none.

    Runs of growing length (the sequence of Luby, Sinclair and Zuckerman, "Optimal speedup of Las Vegas algorithms",
    1993) differ in which of several buffers at one height is placed first.

    Args:
        buffers: of sizes above 0, each live in at least one step.
        capacity: bytes of the arena.
        nodes: placements to try in all runs together.

    Raises:
        OptcError: there is no C compiler, or it fails.
        MemoryError: the search needs more memory than there is.
    """
    order = sorted(range(len(buffers)), key=lambda index: (buffers[index].start, buffers[index].end, index))
    problem = _Problem([buffers[index] for index in order])
    used = 0
    for length, rank in zip(_luby(), problem.ranks(), strict=False):
        outcome, offsets, tried = problem.run(rank, capacity, min(length * RESTART_NODES, nodes - used))
        used += tried
        if outcome == _OUT_OF_MEMORY:
            raise MemoryError("the exact memory planner ran out of memory")
        if outcome == _PACKED:
            placed = dict(zip(order, offsets.tolist(), strict=True))
            return Packing(tuple(placed[index] for index in range(len(buffers))), True, used)
        if outcome == _IMPOSSIBLE:
            return Packing(None, True, used)
        if used >= nodes:
            break
    return Packing(None, False, used)


class _Problem:
    """Buffers, sorted by their start, in the form that the search takes."""

    def __init__(self, buffers: Sequence[Interval]) -> None:
        times = np.unique([time for each in buffers for time in (each.start, each.end)])
        self.first = np.searchsorted(times, [each.start for each in buffers]).astype(np.int32)
        self.last = np.searchsorted(times, [each.end for each in buffers]).astype(np.int32)
        self.size = np.array([each.size for each in buffers], np.int64)
        self.sections = max(0, len(times) - 1)
        width = np.array([each.end - each.start for each in buffers], np.float64)
        live = np.zeros(self.sections + 1, np.int64)
        np.add.at(live, self.first, self.size)
        np.subtract.at(live, self.last, self.size)
        live = np.cumsum(live)
        load = np.array([live[a:b].max() for a, b in zip(self.first, self.last, strict=True)], np.float64)
        area = width * self.size
        self._orders = ((load, width, area), (load, area, width), (width, load, area))

    def ranks(self) -> Iterator[np.ndarray]:
        """Orders of trial, the most promising first: by the load of the worst section, by width, by area."""
        random = np.random.default_rng(0)
        spread = 0.0
        while True:
            for keys in self._orders:
                # The first key decides alone where it differs; only the ones that break its ties are disturbed.
                noise = [np.exp(random.normal(0.0, spread, len(self.size))) for _ in keys[1:]]
                disturbed = [keys[0], *(key * each for key, each in zip(keys[1:], noise, strict=True))]
                ranks = np.empty(len(self.size), np.int32)
                ranks[np.lexsort([-key for key in reversed(disturbed)])] = np.arange(len(self.size), dtype=np.int32)
                yield ranks
            spread = SPREAD

    def run(self, rank: np.ndarray, capacity: int, nodes: int) -> tuple[int, np.ndarray, int]:
        """One run: its outcome, the offsets, and the placements tried."""
        offsets = np.zeros(len(self.size), np.int64)
        tried = ctypes.c_int64()
        arrays = [array.ctypes.data_as(ctypes.c_void_p) for array in (self.first, self.last, self.size, rank)]
        outcome = _library().optc_pack(
            ctypes.c_int32(len(self.size)),
            ctypes.c_int32(self.sections),
            *arrays,
            ctypes.c_int64(capacity),
            ctypes.c_int64(nodes),
            offsets.ctypes.data_as(ctypes.c_void_p),
            ctypes.byref(tried),
        )
        return outcome, offsets, tried.value


def _luby() -> Iterator[int]:
    """1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8, …"""
    index = 0
    while True:
        index += 1
        order = index
        while (order + 1) & order:  # not of the form 2^k - 1: the sequence repeats its own beginning
            order -= (1 << (order.bit_length() - 1)) - 1
        yield (order + 1) // 2


def _library() -> ctypes.CDLL:
    return native.library("optc.passes.memory", "exact.c")
