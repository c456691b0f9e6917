"""Order a graph's operations and merge those that native code cannot run into few, small regions."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from optc.ir.captures import free_values
from optc.ir.core import CONSTANT, Graph, Operation


@dataclass
class Region:
    """Operations that fall back together, in order.

    Attributes:
        operations: in a valid order; constants are left out.
        reason: why the first of them has no native code.
    """

    operations: list[Operation] = field(default_factory=list)
    reason: str = ""


def schedule(graph: Graph, reason_to_fall_back: Callable[[Operation], str | None]) -> list[Operation | Region]:
    """Order the operations so that those that fall back form as few regions as a greedy order allows.

    Native operations run as early as possible; when none is ready, a region takes every fallback operation that is
    ready or becomes ready through the region itself. Ties keep the source order. Constants are left out.

    Returns:
        native operations and regions, in execution order.
    """
    operations = [operation for operation in graph if operation.name != CONSTANT]
    position = {operation: index for index, operation in enumerate(operations)}
    reasons = {operation: reason_to_fall_back(operation) for operation in operations}
    if not any(reasons.values()):
        return list(operations)
    waiting: dict[Operation, int] = {}
    dependents: dict[Operation, list[Operation]] = {operation: [] for operation in operations}
    for operation in operations:
        producers = {value.producer for value in free_values(operation)} & position.keys()
        waiting[operation] = len(producers)
        for producer in producers:
            if producer is not None:
                dependents[producer].append(operation)
    ready: dict[bool, list[int]] = {True: [], False: []}

    def release(candidates: Iterable[Operation]) -> None:
        for candidate in candidates:
            if waiting[candidate] == 0:
                heapq.heappush(ready[reasons[candidate] is None], position[candidate])

    def take(native: bool) -> Operation:
        operation = operations[heapq.heappop(ready[native])]
        for dependent in dependents[operation]:
            waiting[dependent] -= 1
        release(dependents[operation])
        return operation

    release(operations)
    result: list[Operation | Region] = []
    while ready[True] or ready[False]:
        while ready[True]:
            result.append(take(native=True))
        if ready[False]:
            region = Region(reason=reasons[operations[ready[False][0]]] or "")
            while ready[False]:
                region.operations.append(take(native=False))
            result.append(region)
    return result
