"""The order of tasks that keeps the fewest bytes live at once.

The search is over sets of finished tasks, as in Ahn et al., "Ordering Chaos: Memory-Aware Scheduling of Irregularly
Wired Neural Networks for Edge Devices" (MLSys 2020), section 3, but best-first by the peak so far: what would exceed
the least peak is never looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STATES = 20_000
"""Sets of finished tasks that the exact search may visit before a beam takes over."""

BEAM = 64


@dataclass(frozen=True)
class Task:
    """Something to execute.

    Attributes:
        after: the tasks (by index) that have to be finished before.
        touches: the buffers (by index) that it reads or writes; each is live from the first task that touches it to
            the last.
    """

    after: frozenset[int]
    touches: frozenset[int]


@dataclass(frozen=True)
class Ordering:
    """An order of tasks, and the bytes that are live at its worst moment."""

    order: tuple[int, ...]
    peak: int


def peak_of(tasks: Sequence[Task], sizes: Sequence[int], order: Sequence[int]) -> int:
    """The most bytes that are live during one task of an order."""
    search = _Search(tasks, sizes)
    done = live = peak = 0
    for index in order:
        during, live = search.step(done, live, index)
        peak, done = max(peak, during), done | 1 << index
    return peak


def least_peak(tasks: Sequence[Task], sizes: Sequence[int], *, states: int = STATES) -> Ordering:
    """An order with the least peak, or with a low one where the search would exceed `states`.

    Args:
        tasks: none may come, even through others, after itself.
        sizes: bytes of each buffer.
        states: sets of finished tasks to visit.

    Returns:
        the order; the given one when no better one is found.
    """
    given = Ordering(tuple(range(len(tasks))), peak_of(tasks, sizes, range(len(tasks))))
    search = _Search(tasks, sizes)
    found = search.best_first(given.peak, states) or search.beam(given.peak)
    return found if found is not None and found.peak < given.peak else given


@dataclass(frozen=True)
class _State:
    done: int
    live: int
    peak: int
    last: int
    before: _State | None

    def order(self) -> tuple[int, ...]:
        found: list[int] = []
        state: _State | None = self
        while state is not None and state.before is not None:
            found.append(state.last)
            state = state.before
        return tuple(reversed(found))


class _Search:
    def __init__(self, tasks: Sequence[Task], sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.touches = [sorted(task.touches) for task in tasks]
        self.after = [sum(1 << each for each in task.after) for task in tasks]
        self.touchers = [0] * len(sizes)
        for index, task in enumerate(tasks):
            for buffer in task.touches:
                self.touchers[buffer] |= 1 << index
        self.followers: list[list[int]] = [[] for _ in tasks]
        for index, task in enumerate(tasks):
            for each in task.after:
                self.followers[each].append(index)
        self.all = (1 << len(tasks)) - 1

    def step(self, done: int, live: int, task: int) -> tuple[int, int]:
        """Bytes live during a task that follows on the finished ones, and after it."""
        born = freed = 0
        finished = done | 1 << task
        for buffer in self.touches[task]:
            touchers = self.touchers[buffer]
            if not touchers & done:
                born += self.sizes[buffer]
            if not touchers & ~finished:
                freed += self.sizes[buffer]
        return live + born, live + born - freed

    def ready(self, done: int) -> Iterator[int]:
        left = self.all & ~done
        while left:
            lowest = left & -left
            left ^= lowest
            task = lowest.bit_length() - 1
            if not self.after[task] & ~done:
                yield task

    def settle(self, state: _State) -> _State:
        """Run at once what neither raises the peak nor leaves more bytes live: no order gains by waiting with it."""
        again = True
        while again:
            again = False
            for task in self.ready(state.done):
                during, after = self.step(state.done, state.live, task)
                if during <= state.peak and after <= state.live:
                    state = _State(state.done | 1 << task, after, state.peak, task, state)
                    again = True
                    break
        return state

    def next_states(self, state: _State, limit: int) -> Iterator[_State]:
        for task in self.ready(state.done):
            during, after = self.step(state.done, state.live, task)
            if max(state.peak, during) < limit:
                yield self.settle(_State(state.done | 1 << task, after, max(state.peak, during), task, state))

    def best_first(self, limit: int, states: int) -> Ordering | None:
        """The least peak below `limit`; None when there is none or `states` are not enough."""
        start = self.settle(_State(0, 0, 0, -1, None))
        heap = [(start.peak, 0, 0, start)]
        seen: set[int] = set()
        count = 0
        while heap:
            _, _, _, state = heapq.heappop(heap)
            if state.done == self.all:
                return Ordering(state.order(), state.peak)
            if state.done in seen:
                continue
            seen.add(state.done)
            if len(seen) > states:
                return None
            for each in self.next_states(state, limit):
                if each.done not in seen:
                    count += 1
                    heapq.heappush(heap, (each.peak, -each.done.bit_count(), count, each))
        return None

    def beam(self, limit: int) -> Ordering | None:
        """A peak below `limit` by keeping the best states of each number of finished tasks."""
        levels: dict[int, dict[int, _State]] = {0: {0: _State(0, 0, 0, -1, None)}}
        for count in range(len(self.after)):
            level = sorted(levels.pop(count, {}).values(), key=lambda state: (state.peak, state.live, state.done))
            for state in level[:BEAM]:
                for each in self.next_states(state, limit):
                    kept = levels.setdefault(each.done.bit_count(), {})
                    if each.done not in kept or each.peak < kept[each.done].peak:
                        kept[each.done] = each
        final = levels.get(len(self.after), {}).get(self.all)
        return None if final is None else Ordering(final.order(), final.peak)
