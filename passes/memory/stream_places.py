"""Fixed places for weights that are streamed, and what each load waits for, over runs that follow one another.

A load may overwrite what lies at its place as soon as the steps that need that are done: of the same run, or, for the
loads at the start of a run, of the run before. So the first loads of a run are made at the end of the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optc.errors import LimitError
from optc.passes.memory.plan import ALIGNMENT, Buffer, plan_memory
from optc.passes.memory.streaming import Weight, streaming_plans

_PLACED = 24  # plans of the streaming planner that get places; the best of them in lasting operation stands
_RUNS = 4  # simulated one after the other; by the last one the first loads run beside the steps before them


@dataclass(frozen=True)
class PlacedLoad:
    """A weight's way into memory in each run.

    Attributes:
        weight: its number.
        after: the step whose end makes room for it.
        earlier: that step is one of the run before.
    """

    weight: int
    after: int
    earlier: bool


@dataclass(frozen=True)
class PlacedStream:
    """Where the weights lie, and how they come there.

    Attributes:
        locked: numbers of the weights that stay, by their places.
        loads: of each run, in the order in which they are made.
        places: bytes from the start of the memory, one for each weight.
        bytes: of the memory.
        seconds: of a run that follows another at once.
        stalls: seconds of it that steps wait for loads.
    """

    locked: tuple[int, ...]
    loads: tuple[PlacedLoad, ...]
    places: tuple[int, ...]
    bytes: int
    seconds: float
    stalls: float


def place_stream(compute: Sequence[float], weights: Sequence[Weight], budget: int, rate: float) -> PlacedStream:
    """Which weights stay in memory, where each lies, and when the others are loaded.

    Args:
        compute: seconds of each step.
        weights: what the steps need; sizes are multiples of the alignment.
        budget: bytes for weights.
        rate: bytes a second of the storage.

    Raises:
        LimitError: some step needs more than the budget.
    """
    least = least_memory(weights)
    if least > budget:
        raise LimitError(f"the weights cannot be streamed through {budget} bytes", hint=f"{least} bytes work")
    found = []
    for plan in streaming_plans(compute, weights, budget, rate)[:_PLACED]:
        queue = [load.weight for load in plan.loads]
        places, end = _locked_places(weights, plan.locked)
        ring = _ring(weights, queue, budget - end)
        lives = [
            Buffer(load.after + 1, weights[load.weight].last + 1, weights[load.weight].size) for load in plan.loads
        ]
        planned = plan_memory(lives, capacity=budget - end, exact_nodes=0).offsets
        for offsets in (ring, planned):
            if offsets is None or _end(weights, queue, offsets) > budget - end:
                continue
            places.update((number, end + offset) for number, offset in zip(queue, offsets, strict=True))
            found.append(_placed(compute, weights, plan.locked, queue, places, rate))
    if not found:
        queue = sorted(range(len(weights)), key=lambda n: (weights[n].step, n))
        offsets = plan_memory(_uses(weights)).offsets
        found = [_placed(compute, weights, frozenset(), queue, {n: offsets[n] for n in queue}, rate)]
    return min(found, key=lambda each: (each.seconds, -sum(weights[number].size for number in each.locked)))


def least_memory(weights: Sequence[Weight]) -> int:
    """Bytes through which the weights can be streamed, with no load beside a step that could do without its place."""
    return plan_memory(_uses(weights)).arena_bytes


def _uses(weights: Sequence[Weight]) -> list[Buffer]:
    return [Buffer(each.step, each.last + 1, each.size) for each in weights]


def fullest_step(steps: int, weights: Sequence[Weight]) -> int:
    """The step with the most bytes of weights in use."""
    return max(range(steps), key=lambda step: sum(w.size for w in weights if w.step <= step <= w.last))


def _locked_places(weights: Sequence[Weight], locked: frozenset[int]) -> tuple[dict[int, int], int]:
    """One after the other; and where they end."""
    places, end = {}, 0
    for number in sorted(locked):
        places[number] = end
        end += -(-weights[number].size // ALIGNMENT) * ALIGNMENT
    return places, end


def _ring(weights: Sequence[Weight], queue: Sequence[int], room: int) -> list[int] | None:
    """One behind the other, and from the start again at the end; None where that overwrites what is still needed."""
    offsets: list[int] = []
    at = 0
    for position, number in enumerate(queue):
        size = -(-weights[number].size // ALIGNMENT) * ALIGNMENT
        if at + size > room:
            at = 0
        for before, offset in zip(queue[:position], offsets, strict=True):
            rival = weights[before]
            if at < offset + rival.size and offset < at + size and rival.last >= weights[number].step:
                return None
        offsets.append(at)
        at += size
    return offsets


def _end(weights: Sequence[Weight], queue: Sequence[int], offsets: Sequence[int]) -> int:
    return max((offset + weights[n].size for n, offset in zip(queue, offsets, strict=True)), default=0)


def _placed(
    compute: Sequence[float],
    weights: Sequence[Weight],
    locked: frozenset[int],
    queue: Sequence[int],
    places: Mapping[int, int],
    rate: float,
) -> PlacedStream:
    listed = [places[number] for number in range(len(weights))]
    loads = _loads(weights, queue, listed)
    seconds = _lasting(compute, weights, loads, rate)
    held = _end(weights, range(len(weights)), listed)
    held = -(-held // ALIGNMENT) * ALIGNMENT
    return PlacedStream(tuple(sorted(locked)), loads, tuple(listed), held, seconds, max(0.0, seconds - sum(compute)))


def _loads(weights: Sequence[Weight], queue: Sequence[int], places: Sequence[int]) -> tuple[PlacedLoad, ...]:
    loads = []
    for position, number in enumerate(queue):
        rivals = [
            (index, weights[other].last)
            for index, other in enumerate(queue)
            if places[other] < places[number] + weights[number].size
            and places[number] < places[other] + weights[other].size
        ]
        same = [last for index, last in rivals if index < position]
        after = max(same) if same else max(last for index, last in rivals)
        loads.append(PlacedLoad(number, after, not same))
    return tuple(loads)


def _lasting(compute: Sequence[float], weights: Sequence[Weight], loads: Sequence[PlacedLoad], rate: float) -> float:
    """Seconds of a run among many: one load at a time, each when the one before is done and its place is free."""
    before: list[float] = [0.0] * len(compute)
    clock = free = start = 0.0
    for _ in range(_RUNS):
        start, at = clock, 0
        ends: list[float] = []
        for step, seconds in enumerate(compute):
            while at < len(loads) and weights[loads[at].weight].step <= step:
                load = loads[at]
                room = (before if load.earlier else ends)[load.after]
                free = max(free, room) + weights[load.weight].size / rate
                clock = max(clock, free)
                at += 1
            clock += seconds
            ends.append(clock)
        before = ends
    return clock - start
