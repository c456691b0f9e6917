"""Offsets in one arena where a result may overwrite what its kernel has read already.

A kernel that reads and writes in order may let its result begin some bytes before its operand: by the time a byte of
the operand is overwritten, nothing reads it any more (diagonal memory optimisation: Blacker, Bilgin and Dam, "Enabling
Diagonal Memory Optimisation in Deep Learning Inference", 2020).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from optc.passes.memory.plan import Buffer, MemoryPlan, height_of

ROUNDS = 400
"""Orders of placement that are tried; each costs the square of the number of buffers."""

Overlaps = Mapping[tuple[int, int], int]
"""By (operand, result), as indices of buffers: the bytes that the result must begin before the operand."""


def plan_overlapping(
    buffers: Sequence[Buffer], overlaps: Overlaps, *, alignment: int, rounds: int = ROUNDS, seed: int = 0
) -> MemoryPlan:
    """Place buffers first-fit in many orders and keep the smallest arena.

    Args:
        buffers: sizes of 0 are allowed.
        overlaps: pairs whose lifetimes meet in one step alone: there the result, which starts in that step, may
            overlap the operand, which ends after it, if it begins that many bytes before it.
        alignment: of every offset and size.
        rounds: orders to try at most.
        seed: of the random orders.

    Returns:
        the plan; the same arguments give the same plan.
    """
    rounded = [Buffer(each.start, each.end, _aligned(each.size, alignment)) for each in buffers]
    distances = {pair: _aligned(max(distance, 0), alignment) for pair, distance in overlaps.items()}
    neighbours = _conflicts(rounded)
    bound = lower_bound(rounded, distances)
    indices = [index for index, each in enumerate(rounded) if each.size and each.start < each.end]
    generator = random.Random(seed)
    keys = [
        {index: (-rounded[index].size, rounded[index].start) for index in indices},
        {index: (rounded[index].start, -rounded[index].size) for index in indices},
        {index: (-rounded[index].end, -rounded[index].size) for index in indices},
    ]
    best: tuple[int, list[int], list[int]] | None = None
    for number in range(max(rounds, len(keys))):
        if number < len(keys):
            order = sorted(indices, key=keys[number].__getitem__)
        else:
            assert best is not None
            order = _changed(best[2], generator)
        offsets = _first_fit(order, rounded, distances, neighbours)
        height = height_of(rounded, offsets)
        if best is None or height <= best[0]:
            best = (height, offsets, order)
        if height == bound:
            break
    assert best is not None
    return MemoryPlan(tuple(best[1]), best[0], bound, "overlapping", bound)


def lower_bound(buffers: Sequence[Buffer], distances: Overlaps) -> int:
    """Bytes that no plan can do without at the worst step."""
    most = 0
    for step in sorted({each.start for each in buffers}):
        live = [index for index, each in enumerate(buffers) if each.start <= step < each.end]
        total = sum(buffers[index].size for index in live)
        meeting: dict[int, list[int]] = {}
        for operand, result in distances:
            if buffers[result].start == step and operand in live and result in live:
                meeting.setdefault(result, []).append(operand)
        for result, operands in meeting.items():
            apart = buffers[result].size + sum(buffers[each].size for each in operands)
            together = max(
                buffers[result].size,
                sum(buffers[each].size for each in operands),
                *(buffers[each].size + distances[each, result] for each in operands),
            )
            total -= max(apart - together, 0)
        most = max(most, total)
    return most


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _conflicts(buffers: Sequence[Buffer]) -> list[list[int]]:
    return [
        [j for j, other in enumerate(buffers) if j != i and one.start < other.end and other.start < one.end]
        for i, one in enumerate(buffers)
    ]


def _changed(order: Sequence[int], generator: random.Random) -> list[int]:
    """Some buffers moved to other places of the order."""
    changed = list(order)
    for _ in range(generator.randint(1, 3)):
        buffer = changed.pop(generator.randrange(len(changed)))
        changed.insert(generator.randrange(len(changed) + 1), buffer)
    return changed


def _first_fit(
    order: Sequence[int], buffers: Sequence[Buffer], distances: Overlaps, neighbours: Sequence[Sequence[int]]
) -> list[int]:
    offsets = [0] * len(buffers)
    placed: set[int] = set()
    for index in order:
        size = buffers[index].size
        taken = []
        for other in neighbours[index]:
            if other not in placed:
                continue
            # The open interval of offsets at which the two would collide.
            low, high = offsets[other] - size, offsets[other] + buffers[other].size
            if (distance := distances.get((other, index))) is not None:
                low = max(low, offsets[other] - distance)
            elif (distance := distances.get((index, other))) is not None:
                high = min(high, offsets[other] + distance)
            if low < high:
                taken.append((low, high))
        offsets[index] = _fit(taken)
        placed.add(index)
    return offsets


def _fit(taken: Sequence[tuple[int, int]]) -> int:
    """The least offset that lies in none of the open intervals."""
    offset = 0
    for low, high in sorted(taken):
        if low < offset < high:
            offset = high
    return offset
