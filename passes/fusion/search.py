"""The cheapest division of an ordered list of operations into runs that may each be one kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optc.costmodel.interface import Candidate, CostModel, Estimate
from optc.ir.core import Operation
from optc.ops.views import parts
from optc.passes.fusion.rules import GroupRules
from optc.passes.memory.storage import copy_seconds, share_storage
from optc.targets.target import Target

_PER_SECOND = 1e15  # costs are compared as integers, so that ties are ties


@dataclass(frozen=True)
class Run:
    """A piece of the division.

    Attributes:
        candidate: its operations, inputs and outputs.
        estimate: of the cost model; None for what is no kernel: an operation that shares storage, or one without
            native code.
        copying: seconds of the copies that an operation which shares storage leaves to make.
    """

    candidate: Candidate
    estimate: Estimate | None
    copying: float = 0.0

    @property
    def seconds(self) -> float:
        return self.estimate.seconds if self.estimate is not None else self.copying


def sharing_seconds(operations: Sequence[Operation], model: CostModel, target: Target) -> dict[Operation, float]:
    """What each operation that can share storage costs without a kernel: the copies of what cannot lie in place."""
    copies = share_storage(each for each in operations if parts(each)).copies
    prices = iter(copy_seconds([copy.part for each in copies.values() for copy in each], model, target))
    return {operation: sum(next(prices) for _ in each) for operation, each in copies.items()}


def divide(
    operations: Sequence[Operation],
    rules: GroupRules,
    model: CostModel,
    target: Target,
    sharing: Mapping[Operation, float],
) -> list[Run]:
    """Dynamic programming over the ends of runs: the best division up to `end` extends the best up to some start.

    Runs of a topological order are convex, so that no two groups can wait for each other.

    Args:
        operations: in a topological order, without constants.
        sharing: seconds of those that can share storage instead of being a kernel.

    Returns:
        the runs, in order; of equally cheap divisions the one whose last runs are shorter.
    """
    ending: list[list[tuple[int, Candidate]]] = [[] for _ in range(len(operations) + 1)]
    for start in range(len(operations)):
        for end, candidate in _candidates(operations, start, rules):
            ending[end].append((start, candidate))
    kernels = [c for runs in ending for _, c in runs if _is_kernel(c, rules, sharing)]
    prices = dict(zip(map(id, kernels), model.predict(kernels, target), strict=True))

    best: list[int] = [0]
    chosen: list[tuple[int, Run]] = []
    for end in range(1, len(operations) + 1):
        options = []
        for start, candidate in ending[end]:
            run = _cheapest(candidate, prices.get(id(candidate)), sharing)
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


def _is_kernel(candidate: Candidate, rules: GroupRules, sharing: Mapping[Operation, float]) -> bool:
    """Whether a run can become a kernel of ours, and whether that may be better than to share storage."""
    (operation, *others) = candidate.operations
    return bool(others) or (sharing.get(operation) != 0 and rules.refusal_of(operation) is None)


def _cheapest(candidate: Candidate, estimate: Estimate | None, sharing: Mapping[Operation, float]) -> Run:
    """The run as a kernel, if there is an estimate of it, or without one where the operation can share storage."""
    (operation, *others) = candidate.operations
    copying = None if others else sharing.get(operation)
    if copying is None or (estimate is not None and estimate.seconds < copying):
        return Run(candidate, estimate)
    return Run(candidate, None, copying)


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
