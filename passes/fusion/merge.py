"""Merge runs that no order of operations put side by side, as long as that makes the whole cheaper."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from optc.costmodel.interface import Candidate, CostModel
from optc.ir.captures import free_values
from optc.ir.core import Operation
from optc.passes.fusion.rules import GroupRules
from optc.passes.fusion.search import Run
from optc.targets.target import Target

_LEAST_GAIN = 1e-12  # seconds


def merge(runs: Sequence[Run], rules: GroupRules, model: CostModel, target: Target) -> list[Run]:
    """Greedily merge the pair of neighbouring runs that gains most, until none gains anything.

    Two runs may merge when one reads what the other writes and no third run stands between them.

    Args:
        runs: a division of a graph's operations, in a topological order.

    Returns:
        the runs in a topological order, ties in the order given.
    """
    operations = [operation for run in runs for operation in run.candidate.operations]
    merging = _Merging(dict(enumerate(runs)), {operation: i for i, operation in enumerate(operations)})
    while True:
        pairs = merging.pairs()
        unknown = [pair for pair in pairs if pair not in merging.known]
        legal = [(pair, candidate) for pair in unknown if (candidate := merging.merged(pair, rules)) is not None]
        merging.known.update(dict.fromkeys(unknown))
        estimates = model.predict([candidate for _, candidate in legal], target)
        for (pair, candidate), estimate in zip(legal, estimates, strict=True):
            merging.known[pair] = Run(candidate, estimate)
        gains = [(merging.gain(pair), pair) for pair in pairs if merging.known[pair] is not None]
        best = max(gains, default=(0.0, (0, 0)), key=lambda each: (each[0], -each[1][0], -each[1][1]))
        if best[0] <= _LEAST_GAIN:
            return merging.ordered()
        merging.apply(best[1])


Pair = tuple[int, int]


@dataclass
class _Merging:
    """The runs by number, and what the merges of pairs would be."""

    runs: dict[int, Run]
    position: dict[Operation, int]
    known: dict[Pair, Run | None] = field(default_factory=dict)

    def successors(self) -> dict[int, set[int]]:
        """For each run those that read what it writes."""
        home = {operation: number for number, run in self.runs.items() for operation in run.candidate.operations}
        found: dict[int, set[int]] = {number: set() for number in self.runs}
        for operation, number in home.items():
            for value in free_values(operation):
                producer = home.get(value.producer) if value.producer is not None else None
                if producer is not None and producer != number:
                    found[producer].add(number)
        return found

    def pairs(self) -> list[Pair]:
        """Neighbours that become kernels and have no other run between them."""
        successors = self.successors()
        reach: dict[int, int] = {}  # bit sets of runs that depend on a run, itself included
        for number in reversed(self._topological(successors)):
            reach[number] = 1 << number
            for each in successors[number]:
                reach[number] |= reach[each]
        found = []
        for first, readers in successors.items():
            for second in sorted(readers):
                between = any(reach[other] >> second & 1 for other in readers if other != second)
                kernels = self.runs[first].estimate is not None and self.runs[second].estimate is not None
                if kernels and not between:
                    found.append((first, second))
        return found

    def merged(self, pair: Pair, rules: GroupRules) -> Candidate | None:
        """The kernel of both, if it is legal."""
        both = [operation for number in pair for operation in self.runs[number].candidate.operations]
        if sum(rules.is_root(operation) for operation in both) > 1 or len(both) > rules.max_operations:
            return None
        candidate = Candidate.of_operations(sorted(both, key=self.position.__getitem__))
        return candidate if rules.refusal(candidate) is None else None

    def gain(self, pair: Pair) -> float:
        merged = self.known[pair]
        assert merged is not None
        return self.runs[pair[0]].seconds + self.runs[pair[1]].seconds - merged.seconds

    def apply(self, pair: Pair) -> None:
        """Put the merged run in place of the second; what was known of either is forgotten."""
        merged = self.known[pair]
        assert merged is not None
        del self.runs[pair[0]]
        self.runs[pair[1]] = merged
        self.known = {each: run for each, run in self.known.items() if not set(each) & set(pair)}

    def _topological(self, successors: dict[int, set[int]]) -> list[int]:
        waiting = dict.fromkeys(self.runs, 0)
        for readers in successors.values():
            for reader in readers:
                waiting[reader] += 1
        ready = [number for number, count in waiting.items() if not count]
        heapq.heapify(ready)
        order = []
        while ready:
            number = heapq.heappop(ready)
            order.append(number)
            for reader in successors[number]:
                waiting[reader] -= 1
                if not waiting[reader]:
                    heapq.heappush(ready, reader)
        return order

    def ordered(self) -> list[Run]:
        return [self.runs[number] for number in self._topological(self.successors())]
