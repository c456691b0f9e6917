"""A mapping game: memories, the steps of a program, and the tensors that they read and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from optc.errors import UsageError

MOST_MEMORIES = 4


@dataclass(frozen=True)
class Place:
    """A memory: its name, its bytes, and the bytes a second that a step reads or writes there."""

    name: str
    capacity: int
    rate: float


@dataclass(frozen=True)
class Access:
    """One step's use of a tensor: the bytes that it reads or writes."""

    step: int
    bytes: int
    writes: bool = False


@dataclass(frozen=True)
class Tensor:
    """Something that lies in a memory.

    Attributes:
        name: the user's.
        size: bytes.
        home: the memory (by number) that always has room for it.
        accesses: by rising step, at least one.
        at_home: whether it lies there before the first step; otherwise the first access writes it.
        constant: whether it is the same in every run, so that a memory may hold it for good.
        fixed: whether it may lie nowhere else: the caller's.
    """

    name: str
    size: int
    home: int
    accesses: tuple[Access, ...]
    at_home: bool = False
    constant: bool = False
    fixed: bool = False


@dataclass(frozen=True)
class Problem:
    """What a mapping is asked for.

    Attributes:
        memories: the fastest first.
        steps: names, in execution order.
        compute: seconds of each step when its memories cost nothing.
        tensors: of more than zero bytes.
    """

    memories: tuple[Place, ...]
    steps: tuple[str, ...]
    compute: tuple[float, ...]
    tensors: tuple[Tensor, ...]

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The tensors in the order of decision: those whose move to the fastest memory shortens their steps most."""
        traffic = np.zeros(len(self.steps))
        for tensor in self.tensors:
            for access in tensor.accesses:
                traffic[access.step] += access.bytes / self.memories[tensor.home].rate
        compute = np.asarray(self.compute)

        def gain(tensor: Tensor) -> float:
            slow, fast = self.memories[tensor.home].rate, self.memories[0].rate
            total = 0.0
            for access in tensor.accesses:
                now = traffic[access.step]
                then = now - access.bytes / slow + access.bytes / fast
                total += max(compute[access.step], now) - max(compute[access.step], then)
            return total

        gains = [gain(tensor) for tensor in self.tensors]
        return tuple(sorted(range(len(self.tensors)), key=lambda n: (-gains[n], -self.tensors[n].size, n)))

    @cached_property
    def access_at(self) -> tuple[int, ...]:
        """Where each tensor's accesses begin in a list of all; one more entry at the end."""
        at = [0]
        for tensor in self.tensors:
            at.append(at[-1] + len(tensor.accesses))
        return tuple(at)

    @cached_property
    def demand(self) -> np.ndarray:
        """Bytes of tensors between their first and last access, by step."""
        found = np.zeros(len(self.steps))
        for tensor in self.tensors:
            first = 0 if tensor.at_home and not tensor.constant else tensor.accesses[0].step
            found[first : tensor.accesses[-1].step + 1] += tensor.size
        return found


def check(problem: Problem) -> None:
    """Raise UsageError unless a game can be played."""
    if not 2 <= len(problem.memories) <= MOST_MEMORIES:
        raise UsageError(
            f"a mapping needs 2 to {MOST_MEMORIES} memories", why=f"{len(problem.memories)} are given"
        )
    for faster, slower in zip(problem.memories, problem.memories[1:], strict=False):
        if faster.rate < slower.rate:
            raise UsageError(f"the memory '{faster.name}' is slower than '{slower.name}', which comes after it")
    for number, home in enumerate(problem.memories):
        needed = _resident(problem.tensors, number, len(problem.steps))
        if needed > home.capacity:
            raise UsageError(
                f"the memory '{home.name}' is too small for what has its home there",
                why=f"{needed} bytes are needed at once, and it has {home.capacity}",
            )


def _resident(tensors: Sequence[Tensor], memory: int, steps: int) -> int:
    """Bytes that have their home in a memory at the worst step."""
    live = np.zeros(steps + 1, np.int64)
    for tensor in tensors:
        if tensor.home == memory:
            first = 0 if tensor.at_home else tensor.accesses[0].step
            last = steps if tensor.constant else tensor.accesses[-1].step + 1
            live[first:last] += tensor.size
    return int(live.max(initial=0))
