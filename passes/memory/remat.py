"""Computes values again where they are needed late, instead of keeping them through the fullest moment.

The greedy choice of Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016), on a forward graph: each time
the value whose second computation lowers the peak of live bytes most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from optc.ir.clone import clone_operation
from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.types import TensorType
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.memory.order import live_bytes


@dataclass(frozen=True)
class Rematerialize(Pass):
    """Clone operations before late users of their results as long as the peak of live bytes falls.

    It saves memory for time, so it is only run where a memory limit asks for it.

    Attributes:
        most: operations that are computed twice.
    """

    name: ClassVar[str] = "rematerialize"
    most: int = 8

    def run(self, module: Module, context: PassContext) -> bool:
        graph = module.main
        values = [result for operation in graph for result in operation.results]
        if not all(isinstance(value.type, TensorType) and value.type.is_static for value in values):
            return False
        changed = False
        peak = live_bytes(graph)
        for _ in range(self.most):
            best = _best(graph, peak)
            if best is None:
                break
            value, late, lower = best
            _again(graph, value, late)
            location = late[0].location
            reason = f"'{value.name}' is computed again: the peak of live bytes falls from {peak} to {lower}"
            predicted = {"bytes_before": float(peak), "bytes": float(lower)}
            context.remarks.append(Remark(self.name, "applied", "compute-again", reason, location, predicted))
            peak, changed = lower, True
        return changed


def _best(graph: Graph, peak: int) -> tuple[Value, list[Operation], int] | None:
    """The value and the late users whose own copy of it lowers the peak most; None when none does."""
    best: tuple[Value, list[Operation], int] | None = None
    for value, late in _candidates(graph):
        clone = _again(graph, value, late)
        lower = live_bytes(graph)
        clone.results[0].replace_by(value, only=late)
        graph.erase(clone)
        if lower < (peak if best is None else best[2]):
            best = (value, late, lower)
    return best


def _candidates(graph: Graph) -> Iterator[tuple[Value, list[Operation]]]:
    position = {operation: number for number, operation in enumerate(graph)}
    for operation in list(graph):
        if operation.name == CONSTANT or len(operation.results) != 1 or operation.results[0] in graph.outputs:
            continue
        users = set(operation.results[0].users)
        if len(users) < 2 or not all(user in position for user in users):
            continue
        ordered = sorted(users, key=lambda user: position[user])
        for first in range(1, len(ordered)):
            if position[ordered[first]] > position[ordered[first - 1]] + 1:
                yield operation.results[0], ordered[first:]


def _again(graph: Graph, value: Value, late: Sequence[Operation]) -> Operation:
    """A copy of what makes a value, right before the first of the late users, for all of them."""
    assert value.producer is not None
    clone = graph.insert(clone_operation(value.producer, {}), late[0])
    value.replace_by(clone.results[0], only=late)
    return clone
