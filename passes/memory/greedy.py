"""Greedy placement: take the buffers in some order, and give each the lowest gap that fits among those it meets.

The orders are those of Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020), section
4.3 (by size), and of Sekiyama et al., "Profile-guided memory optimization for deep neural networks" (2018).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from typing import Protocol


class Interval(Protocol):
    """A buffer: live in steps [start, end), `size` bytes."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def size(self) -> int: ...


def place_in_order(buffers: Sequence[Interval], order: Iterable[int]) -> list[int]:
    """First fit at the lowest offset, in the given order of indices; returns an offset for each buffer."""
    offsets = [0] * len(buffers)
    placed: list[tuple[int, int]] = []  # (offset, index), sorted
    for index in order:
        buffer = buffers[index]
        candidate = 0
        for offset, other_index in placed:
            other = buffers[other_index]
            if other.start < buffer.end and buffer.start < other.end:
                if offset >= candidate + buffer.size:
                    break
                candidate = max(candidate, offset + other.size)
        offsets[index] = candidate
        insort(placed, (candidate, index))
    return offsets


def by_size(buffers: Sequence[Interval]) -> list[int]:
    """Largest first."""
    return place_in_order(buffers, sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, buffers[i].start)))


def by_lifetime(buffers: Sequence[Interval]) -> list[int]:
    """Longest-lived first."""
    return place_in_order(
        buffers, sorted(range(len(buffers)), key=lambda i: (buffers[i].start - buffers[i].end, -buffers[i].size))
    )


def by_area(buffers: Sequence[Interval]) -> list[int]:
    """Largest size times lifetime first."""
    return place_in_order(
        buffers, sorted(range(len(buffers)), key=lambda i: -buffers[i].size * (buffers[i].end - buffers[i].start))
    )


def by_step(buffers: Sequence[Interval]) -> list[int]:
    """Steps with the most live bytes first; within a step the largest first ("greedy by breadth")."""
    steps = sorted({each.start for each in buffers})
    live = {step: [i for i, each in enumerate(buffers) if each.start <= step < each.end] for step in steps}
    order: dict[int, None] = {}
    for step in sorted(steps, key=lambda s: -sum(buffers[i].size for i in live[s])):
        order.update(dict.fromkeys(sorted(live[step], key=lambda i: -buffers[i].size)))
    return place_in_order(buffers, order)


def by_conflict(buffers: Sequence[Interval]) -> list[int]:
    """Those that meet the most bytes of others first."""

    def conflict(index: int) -> int:
        mine = buffers[index]
        return sum(other.size for other in buffers if other.start < mine.end and mine.start < other.end)

    weights = [conflict(index) for index in range(len(buffers))]
    return place_in_order(buffers, sorted(range(len(buffers)), key=lambda i: (-weights[i], -buffers[i].size)))
