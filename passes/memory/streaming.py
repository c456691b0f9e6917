"""Weights that do not fit: which stay in memory for all runs, and when each of the others is loaded from storage.

As in FlexInfer (Du et al., "FlexInfer: Breaking Memory Constraint via Flexible and Efficient Offloading for On-Device
LLM Inference", 2025) loads run ahead of the steps that need them, and a part is locked, spread over the steps so that
each has about the same to load. Which part is decided by simulation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from optc.errors import LimitError

_SHARES = 16  # how finely the locked part is varied


@dataclass(frozen=True)
class Weight:
    """Constant data: its bytes, the first step that needs it, and the last one."""

    name: str
    size: int
    step: int
    last: int


@dataclass(frozen=True)
class Load:
    """A weight's way into memory in each run.

    Attributes:
        weight: its number.
        after: the step whose end makes room for it; -1: it may start at once.
        start: seconds from the start of the run; the load before it is then done.
        end: when all of its bytes are there.
    """

    weight: int
    after: int
    start: float
    end: float


@dataclass(frozen=True)
class StreamingPlan:
    """What is locked, what is loaded when, and what a run then takes.

    Attributes:
        locked: numbers of the weights that stay.
        loads: in the order in which they run.
        seconds: of a run.
        stalls: seconds of it that steps wait for loads.
        bytes: in memory at the fullest moment.
    """

    locked: frozenset[int]
    loads: tuple[Load, ...]
    seconds: float
    stalls: float
    bytes: int


def simulate(
    compute: Sequence[float], weights: Sequence[Weight], locked: frozenset[int], budget: int, rate: float
) -> StreamingPlan | None:
    """Run the steps once; None where the budget cannot hold what some step needs.

    Loads run one after the other in the order of the steps that need them, each as soon as the one before is done and
    the weights of finished steps have made room.

    Args:
        compute: seconds of each step.
        weights: what the steps need.
        locked: numbers of those that lie in memory before the run and stay there.
        budget: bytes for weights.
        rate: bytes a second of the storage.
    """
    room = budget - sum(weights[number].size for number in locked)
    queue = sorted((n for n in range(len(weights)) if n not in locked), key=lambda n: (weights[n].step, n))
    ends: list[float] = []
    loads: list[Load] = []
    held: list[int] = []
    clock = free = stalls = 0.0
    peak = at = 0
    for step, seconds in enumerate(compute):
        while at < len(queue) and weights[queue[at]].step == step:
            weight = weights[queue[at]]
            # The earliest step whose end leaves room beside what later steps still need.
            after = _room_after(weights, held, room - weight.size)
            if after is None or after >= step:
                return None
            start = max(free, ends[after] if after >= 0 else 0.0)
            free = start + weight.size / rate
            held = [number for number in held if weights[number].last > after]
            held.append(queue[at])
            peak = max(peak, sum(weights[number].size for number in held))
            loads.append(Load(queue[at], after, start, free))
            at += 1
        ready = max((load.end for load in loads if weights[load.weight].step == step), default=clock)
        stalls += max(0.0, ready - clock)
        clock = max(clock, ready) + seconds
        ends.append(clock)
    return StreamingPlan(locked, tuple(loads), clock, stalls, budget - room + peak)


def _room_after(weights: Sequence[Weight], held: Sequence[int], room: int) -> int | None:
    """The first step (-1: none) after whose end what is still held leaves `room`; None: no end of a step does."""
    if room < 0:
        return None
    taken = sum(weights[number].size for number in held)
    if taken <= room:
        return -1
    for number in sorted(held, key=lambda n: weights[n].last):
        taken -= weights[number].size
        if taken <= room:
            return weights[number].last
    return None


def plan_streaming(compute: Sequence[float], weights: Sequence[Weight], budget: int, rate: float) -> StreamingPlan:
    """The locked part with the shortest simulated run.

    Args:
        compute: seconds of each step.
        weights: what the steps need.
        budget: bytes for weights.
        rate: bytes a second of the storage.

    Raises:
        LimitError: some step alone needs more than the budget.
    """
    found = streaming_plans(compute, weights, budget, rate)
    if not found:
        least = least_budget(len(compute), weights)
        raise LimitError(
            f"the weights cannot be streamed through {budget} bytes",
            why=f"some step needs {least} bytes of them at once",
            hint=f"{least} bytes work",
        )
    return found[0]


def streaming_plans(
    compute: Sequence[float], weights: Sequence[Weight], budget: int, rate: float
) -> list[StreamingPlan]:
    """The plans of all locked parts that are considered, the shortest run first; arguments as for `plan_streaming`."""
    candidates = dict.fromkeys(_candidates(weights, budget))
    plans = [simulate(compute, weights, locked, budget, rate) for locked in candidates]
    found = [plan for plan in plans if plan is not None]
    return sorted(found, key=lambda plan: (plan.seconds, sum(weights[number].size for number in plan.locked)))


def least_budget(steps: int, weights: Sequence[Weight]) -> int:
    """Bytes that the step with the most weights in use needs."""
    return max((sum(w.size for w in weights if w.step <= step <= w.last) for step in range(steps)), default=0)


def _candidates(weights: Sequence[Weight], budget: int) -> Iterator[frozenset[int]]:
    """Locked parts of growing size, spread over the steps, or of the largest, the smallest or the first weights."""
    numbers = range(len(weights))
    yield frozenset()
    total = sum(weight.size for weight in weights)
    if total <= budget:
        yield frozenset(numbers)
        return
    for share in range(1, _SHARES + 1):
        most = budget * share // _SHARES
        yield _spread(weights, most, total)
        for key in (lambda n: -weights[n].size, lambda n: weights[n].size, lambda n: weights[n].step):
            chosen, used = [], 0
            for number in sorted(numbers, key=key):
                if used + weights[number].size <= most:
                    chosen.append(number)
                    used += weights[number].size
            yield frozenset(chosen)


def _spread(weights: Sequence[Weight], most: int, total: int) -> frozenset[int]:
    """Of each stretch of steps about the same share, by carrying over what was locked too little so far."""
    chosen, used, seen = [], 0, 0
    for number in sorted(range(len(weights)), key=lambda n: (weights[n].step, n)):
        seen += weights[number].size
        if used + weights[number].size <= most * seen / total:
            chosen.append(number)
            used += weights[number].size
    return frozenset(chosen)
