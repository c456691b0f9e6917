"""The cheapest division of an ordered list of operations into runs that may each be one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.costmodel.interface import Candidate, CostModel, Estimate
from optc.ir.core import Operation
from optc.ops.views import is_view
from optc.passes.fusion.rules import GroupRules
from optc.targets.target import Target

_PER_SECOND = 1e15  # costs are compared as integers, so that ties are ties


@dataclass(frozen=True)
class Run:
    """A piece of the division.

    Attributes:
        candidate: its operations, inputs and outputs.
        estimate: of the cost model; None for what is no kernel: a view alone, or an operation without native code.
    """

    candidate: Candidate
    estimate: Estimate | None

    @property
    def seconds(self) -> float:
        return self.estimate.seconds if self.estimate is not None else 0.0


def divide(operations: Sequence[Operation], rules: GroupRules, model: CostModel, target: Target) -> list[Run]:
    """Dynamic programming over the ends of runs: the best division up to `end` extends the best up to some start.

    Runs of a topological order are convex, so that no two groups can wait for each other.

    Args:
        operations: in a topological order, without constants.

    Returns:
        the runs, in order; of equally cheap divisions the one whose last runs are shorter.
    """
    ending: list[list[tuple[int, Candidate]]] = [[] for _ in range(len(operations) + 1)]
    for start in range(len(operations)):
        for end, candidate in _candidates(operations, start, rules):
            ending[end].append((start, candidate))
    kernels = [c for runs in ending for _, c in runs if not _is_free(c, rules)]
    prices = dict(zip(map(id, kernels), model.predict(kernels, target), strict=True))

    best: list[int] = [0]
    chosen: list[tuple[int, Run]] = []
    for end in range(1, len(operations) + 1):
        options = []
        for start, candidate in ending[end]:
            run = Run(candidate, prices.get(id(candidate)))
            options.append((best[start] + round(run.seconds * _PER_SECOND), start, run))
        cost, start, run = min(options, key=lambda option: (option[0], -option[1]))
        best.append(cost)
        chosen.append((start, run))
    runs: list[Run] = []
    end = len(operations)
    while end:
        start, run = chosen[end - 1]
        runs.append(run)
        end = start
    return runs[::-1]


def _is_free(candidate: Candidate, rules: GroupRules) -> bool:
    """Whether a run becomes no kernel of ours."""
    (operation, *others) = candidate.operations
    return not others and (is_view(operation) or rules.refusal_of(operation) is not None)


def _candidates(operations: Sequence[Operation], start: int, rules: GroupRules) -> list[tuple[int, Candidate]]:
    """The legal runs that begin at `start`, with their ends."""
    first = Candidate.of_operations(operations[start : start + 1])
    found = [(start + 1, first)]
    if rules.refusal_of(operations[start]) is not None:
        return found
    roots = int(rules.is_root(operations[start]))
    for end in range(start + 2, min(start + rules.max_operations, len(operations)) + 1):
        operation = operations[end - 1]
        if rules.refusal_of(operation) is not None:
            break
        roots += rules.is_root(operation)
        if roots > 1:
            break
        candidate = Candidate.of_operations(operations[start:end])
        if rules.refusal(candidate) is None:
            found.append((end, candidate))
    return found
