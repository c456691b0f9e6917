"""A smaller problem with the same minimum: tasks that no cut can pay to part are made one.

A task that reads one value, and whose only result goes to one task, is worth parting from that reader only if its
result is smaller than what it reads, or if it is cheaper on the nearer tier. Where neither holds, sending what it
reads is never worse than sending what it makes, whatever the bandwidth and the goal. What is left of a network is
about as many tasks as its values reach new least sizes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from optc.passes.split.problem import Conditions, Placement, SplitProblem, Task, Transfer


@dataclass(frozen=True)
class Condensed:
    """A problem, and for each task of the original its task there."""

    problem: SplitProblem
    group: tuple[int, ...]

    def expand(self, placement: Placement) -> Placement:
        """The placement of the original tasks."""
        return tuple(placement[each] for each in self.group)


def condense(problem: SplitProblem, conditions: Conditions) -> Condensed:
    """Merge what no cut under the conditions' loads parts, for any links and any goal.

    Weights are left out: memory is judged on the original.
    """
    merged = _Merged(problem, conditions)
    for index in range(len(problem.tasks)):
        merged.try_merge(index)
    return merged.result()


class _Merged:
    def __init__(self, problem: SplitProblem, conditions: Conditions) -> None:
        self.problem = problem
        self.conditions = conditions
        self.leader = list(range(len(problem.tasks)))
        self.seconds = [list(task.seconds) for task in problem.tasks]
        self.joules = [task.joules for task in problem.tasks]
        self.reads: list[set[int]] = [set() for _ in problem.tasks]
        self.makes: list[list[int]] = [[] for _ in problem.tasks]
        for number, transfer in enumerate(problem.transfers):
            for task in transfer.consumers:
                self.reads[task].add(number)
            if transfer.producer is not None:
                self.makes[transfer.producer].append(number)

    def find(self, task: int) -> int:
        while self.leader[task] != task:
            self.leader[task] = self.leader[self.leader[task]]
            task = self.leader[task]
        return task

    def try_merge(self, task: int) -> None:
        """Merge a task, with what was merged into it, into its only reader where no cut between them pays."""
        own = self.find(task)
        transfers = self.problem.transfers
        if len(self.makes[own]) != 1 or len(self.reads[own]) != 1:
            return
        made, (read,) = transfers[self.makes[own][0]], self.reads[own]
        readers = {self.find(each) for each in made.consumers}
        if made.wanted or len(readers) != 1 or not self._is_no_gain(own, transfers[read], made):
            return
        (reader,) = readers
        self.leader[own] = reader
        self.seconds[reader] = [a + b for a, b in zip(self.seconds[reader], self.seconds[own], strict=True)]
        self.joules[reader] += self.joules[own]
        self.reads[reader] = (self.reads[reader] | self.reads[own]) - set(self.makes[own])

    def _is_no_gain(self, task: int, read: Transfer, made: Transfer) -> bool:
        if not read.movable or not made.movable or read.bytes > made.bytes or read.coding > made.coding:
            return False
        conditions = self.conditions
        spent = [seconds * conditions.factor(tier) for tier, seconds in enumerate(self.seconds[task])]
        falling = all(near >= far for near, far in itertools.pairwise(spent))
        return falling and self.joules[task] * conditions.factor(0) >= conditions.idle_watts * max(spent[1:])

    def result(self) -> Condensed:
        leaders = [self.find(task) for task in range(len(self.leader))]
        number = {leader: index for index, leader in enumerate(dict.fromkeys(sorted(leaders)))}
        group = tuple(number[leader] for leader in leaders)
        tasks = tuple(
            Task(self.problem.tasks[leader].name, tuple(self.seconds[leader]), self.joules[leader]) for leader in number
        )
        transfers = []
        for transfer in self.problem.transfers:
            producer = None if transfer.producer is None else group[transfer.producer]
            readers = tuple(dict.fromkeys(group[task] for task in transfer.consumers))
            readers = tuple(each for each in readers if each != producer)
            if readers or transfer.wanted:
                transfers.append(replace(transfer, producer=producer, consumers=readers))
        return Condensed(SplitProblem(self.problem.tiers, tasks, tuple(transfers)), group)
