"""What a mapping takes, event by event: the reference for the compiled game, and what a replay shows.

A step takes as long as its arithmetic or its memory traffic, whichever is longer; the traffic to all memories adds up.
One copy engine moves tensors in the order in which the copies are issued. It gets what a step leaves of the slow
memories' time. A step waits until the copies that it needs, and those before them, are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.passes.memory.game.engine import Copy, Played
from optc.passes.memory.game.problem import Problem


@dataclass(frozen=True)
class StepTime:
    """When a step ran: it waited from `ready` to `start` for copies, then ran until `end`."""

    ready: float
    start: float
    end: float


@dataclass(frozen=True)
class CopyTime:
    """When a copy's bytes moved: not before `start`, all of them at `end`."""

    copy: Copy
    start: float
    end: float


@dataclass(frozen=True)
class Stay:
    """A tensor's room in a memory that is not its home: the steps [start, end)."""

    tensor: int
    memory: int
    start: int
    end: int


@dataclass(frozen=True)
class Timeline:
    """A replay of a mapping."""

    steps: tuple[StepTime, ...]
    copies: tuple[CopyTime, ...]
    seconds: float


def places(problem: Problem, choices: Sequence[int]) -> list[int]:
    """The memory that serves each access, from the choices of a finished game."""
    fast = len(problem.memories) - 1
    return [
        tensor.home if choice == 0 else (choice - 1) % fast
        for tensor, choice in _with_choices(problem, choices)
    ]


def _with_choices(problem: Problem, choices: Sequence[int]) -> list[tuple]:
    listed = [tensor for tensor in problem.tensors for _ in tensor.accesses]
    return list(zip(listed, choices, strict=True))


def simulate(problem: Problem, played: Played) -> Timeline:
    """Replay a finished game."""
    count = len(problem.steps)
    traffic, slow = [0.0] * count, [0.0] * count
    homes = {tensor.home for tensor in problem.tensors}
    served = iter(places(problem, played.choices))
    for tensor in problem.tensors:
        for access in tensor.accesses:
            memory = next(served)
            seconds = access.bytes / problem.memories[memory].rate
            traffic[access.step] += seconds
            slow[access.step] += seconds if memory in homes else 0.0
    queue = sorted(played.copies, key=lambda copy: copy.issue)
    left = [copy_seconds(problem, copy) for copy in queue]
    begun: list[float | None] = [None] * len(queue)
    ended = [0.0] * len(queue)
    head = 0
    clock = 0.0
    steps = []
    for t in range(count):
        ready = clock
        needed = max((i + 1 for i, copy in enumerate(queue) if copy.issue <= t and copy.deadline <= t), default=0)
        while head < needed:
            begun[head] = clock if begun[head] is None else begun[head]
            clock += left[head]
            ended[head] = clock
            head += 1
        length = max(problem.compute[t], traffic[t])
        room = length - slow[t]
        spread = length / room if room > 0 else 0.0  # the engine's share of the step, taken evenly
        moment = clock
        while head < len(queue) and queue[head].issue <= t and room > 0.0:
            begun[head] = moment if begun[head] is None else begun[head]
            part = min(left[head], room)
            room -= part
            left[head] -= part
            moment += part * spread
            if left[head] > 0.0:
                break
            ended[head] = moment
            head += 1
        steps.append(StepTime(ready, clock, clock + length))
        clock += length
    copies = tuple(
        CopyTime(copy, start or 0.0, end) for copy, start, end in zip(queue, begun, ended, strict=True)
    )
    return Timeline(tuple(steps), copies, clock)


def copy_seconds(problem: Problem, copy: Copy) -> float:
    """Bytes over the slower of the two memories."""
    rates = (problem.memories[copy.source].rate, problem.memories[copy.destination].rate)
    return problem.tensors[copy.tensor].size / min(rates)


def stays(problem: Problem, played: Played) -> list[Stay]:
    """The rooms that tensors take in memories that are not their homes."""
    found: list[Stay] = []
    into = {(copy.tensor, copy.deadline): copy.issue for copy in played.copies if _is_fetch(problem, copy)}
    out = {(copy.tensor, copy.issue): copy.deadline for copy in played.copies if not _is_fetch(problem, copy)}
    fast = len(problem.memories) - 1
    for number, tensor in enumerate(problem.tensors):
        choices = played.choices[problem.access_at[number] : problem.access_at[number + 1]]
        if tensor.constant and choices[0] > fast:
            found.append(Stay(number, choices[0] - 1 - fast, 0, len(problem.steps)))
            continue
        memory, begin, last = tensor.home, 0, 0
        for access, choice in zip(tensor.accesses, choices, strict=True):
            wanted = tensor.home if choice == 0 else (choice - 1) % fast
            if memory != tensor.home and (wanted == tensor.home or choice > fast):
                found.append(Stay(number, memory, begin, max(last + 1, out.get((number, last + 1), 0))))
                memory = tensor.home
            if memory == tensor.home and wanted != tensor.home:
                memory, begin = wanted, into.get((number, access.step), access.step)
            last = access.step
        if memory != tensor.home:
            found.append(Stay(number, memory, begin, last + 1))
    return found


def _is_fetch(problem: Problem, copy: Copy) -> bool:
    return copy.source == problem.tensors[copy.tensor].home
