"""Topological orders in which operations that belong together stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optc.ir.captures import free_values
from optc.ir.core import Graph, Operation


def depth_first(operations: Sequence[Operation]) -> list[Operation]:
    """Each operation directly after the last of its producers where that is possible; ties keep the source order."""
    position = {operation: index for index, operation in enumerate(operations)}
    waiting: dict[Operation, int] = {}
    dependents: dict[Operation, list[Operation]] = {operation: [] for operation in operations}
    for operation in operations:
        producers = {value.producer for value in free_values(operation)}
        known = [producer for producer in producers if producer in position and producer is not None]
        waiting[operation] = len(known)
        for producer in known:
            dependents[producer].append(operation)
    order: list[Operation] = []
    stack = [operation for operation in reversed(operations) if not waiting[operation]]
    while stack:
        operation = stack.pop()
        order.append(operation)
        ready = []
        for dependent in dependents[operation]:
            waiting[dependent] -= 1
            if not waiting[dependent]:
                ready.append(dependent)
        stack += sorted(ready, key=lambda each: -position[each])
    return order


def long_branches_first(operations: Sequence[Operation]) -> list[Operation]:
    """Each operation as late as its first reader allows; of the operands, that with the most left to do comes first.

    What is short, such as an upsampling beside a long branch, so ends up next to the operation that joins them. This
    is the order of Sethi and Ullman, "The generation of optimal code for arithmetic expressions" (1970), on a graph.
    """
    position = {operation: index for index, operation in enumerate(operations)}
    needs: dict[Operation, list[Operation]] = {}
    ancestors: dict[Operation, int] = {}  # as bit sets over positions, the operation itself included
    for index, operation in enumerate(operations):
        found = {value.producer for value in free_values(operation)}
        known = [each for each in found if each is not None and each in position]
        needs[operation] = sorted(known, key=position.__getitem__)
        ancestors[operation] = 1 << index
        for each in needs[operation]:
            ancestors[operation] |= ancestors[each]
    order: list[Operation] = []
    done = 0
    for last in operations:
        stack = [(last, False)] if not _has_reader(last, position) else []
        while stack:
            operation, ready = stack.pop()
            bit = 1 << position[operation]
            if done & bit:
                continue
            if ready:
                order.append(operation)
                done |= bit
            else:
                stack.append((operation, True))
                left = [each for each in needs[operation] if not done >> position[each] & 1]
                stack += [(each, False) for each in sorted(left, key=lambda e: (ancestors[e] & ~done).bit_count())]
    return order


def _has_reader(operation: Operation, among: Mapping[Operation, int]) -> bool:
    """Whether one of `among`, or an operation in a graph that one holds, reads a result."""
    for result in operation.results:
        for user in result.users:
            while user not in among and user.graph is not None and user.graph.parent is not None:
                user = user.graph.parent
            if user in among:
                return True
    return False


def reorder(graph: Graph, order: Sequence[Operation]) -> None:
    """Put operations of a graph in the given order behind those that are not named (constants)."""
    for operation in order:
        graph.unlink(operation)
    for operation in order:
        graph.append(operation)
