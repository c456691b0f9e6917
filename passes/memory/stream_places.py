"""Fixed places for weights that are streamed, and what each load waits for, over runs that follow one another.

A load may overwrite what lies at its place as soon as the steps that need that are done: of the same run, or, for the
loads at the start of a run, of the run before. So the first loads of a run are made at the end of the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.errors import LimitError
from optc.passes.memory.plan import ALIGNMENT, Buffer, plan_memory
from optc.passes.memory.streaming import Weight, streaming_plans

_PLACED = 8  # plans of the streaming planner that get places; the best of them in lasting operation stands
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
        lives = [
            Buffer(load.after + 1, weights[load.weight].last + 1, weights[load.weight].size) for load in plan.loads
        ]
        placed = _placed(compute, weights, [load.weight for load in plan.loads], lives, rate)
        if placed.bytes <= budget:
            found.append(placed)
    if not found:
        queue = _queue(weights, frozenset())
        tight = _uses(weights)
        found = [_placed(compute, weights, queue, [tight[number] for number in queue], rate)]
    return min(found, key=lambda each: (each.seconds, -sum(weights[number].size for number in each.locked)))


def least_memory(weights: Sequence[Weight]) -> int:
    """Bytes through which the weights can be streamed, with no load beside a step that could do without its place."""
    return plan_memory(_uses(weights)).arena_bytes


def _uses(weights: Sequence[Weight]) -> list[Buffer]:
    return [Buffer(each.step, each.last + 1, each.size) for each in weights]


def fullest_step(steps: int, weights: Sequence[Weight]) -> int:
    """The step with the most bytes of weights in use."""
    return max(range(steps), key=lambda step: sum(w.size for w in weights if w.step <= step <= w.last))


def _queue(weights: Sequence[Weight], locked: frozenset[int]) -> list[int]:
    return sorted((n for n in range(len(weights)) if n not in locked), key=lambda n: (weights[n].step, n))


def _placed(
    compute: Sequence[float], weights: Sequence[Weight], queue: Sequence[int], lives: Sequence[Buffer], rate: float
) -> PlacedStream:
    """Locked weights first, the streamed ones after them where their lives allow it."""
    streamed = set(queue)
    locked = [number for number in range(len(weights)) if number not in streamed]
    places = [0] * len(weights)
    end = 0
    for number in locked:
        places[number] = end
        end += -(-weights[number].size // ALIGNMENT) * ALIGNMENT
    plan = plan_memory(lives)
    for number, offset in zip(queue, plan.offsets, strict=True):
        places[number] = end + offset
    loads = _loads(weights, queue, places)
    seconds = _lasting(compute, weights, loads, rate)
    return PlacedStream(
        tuple(locked), loads, tuple(places), end + plan.arena_bytes, seconds, max(0.0, seconds - sum(compute))
    )


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
