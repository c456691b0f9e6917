"""Reorders operations so that fewer bytes are live at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from optc.ir.captures import free_values
from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.types import TensorType
from optc.ops.views import parts
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.memory.plan import ALIGNMENT
from optc.passes.memory.sequence import Task, least_peak, peak_of
from optc.passes.memory.storage import share_storage


@dataclass(frozen=True)
class Order(Pass):
    """Put operations into the order with the lowest peak of live bytes; the given one stays where none is lower.

    Values that share storage count once. Model inputs and outputs lie with the caller and do not count.
    """

    name: ClassVar[str] = "order"

    def run(self, module: Module, context: PassContext) -> bool:
        graph = module.main
        operations = [operation for operation in graph if operation.name != CONSTANT]
        if not _movable(operations):
            return False
        tasks, sizes = _problem(graph, operations)
        found = least_peak(tasks, sizes)
        before = peak_of(tasks, sizes, range(len(tasks)))
        if found.peak >= before:
            return False
        for index in found.order:
            graph.append(graph.unlink(operations[index]))
        reason = f"the peak of live bytes falls from {before} to {found.peak}"
        predicted = {"bytes_before": float(before), "bytes": float(found.peak)}
        context.remarks.append(Remark(self.name, "applied", "reorder", reason, predicted=predicted))
        return True


def live_bytes(graph: Graph) -> int:
    """The peak of live bytes in the order that the graph has, counted as `Order` does; all types must be static."""
    tasks, sizes = _problem(graph, [operation for operation in graph if operation.name != CONSTANT])
    return peak_of(tasks, sizes, range(len(tasks)))


def _movable(operations: Sequence[Operation]) -> bool:
    """Whether all sizes are known."""
    return all(
        isinstance(value.type, TensorType) and value.type.is_static
        for operation in operations
        for value in operation.results
    )


def _problem(graph: Graph, operations: Sequence[Operation]) -> tuple[list[Task], list[int]]:
    storage = share_storage(operation for operation in operations if parts(operation))
    position = {operation: index for index, operation in enumerate(operations)}
    outside = {*graph.inputs, *(storage.place(value).root for value in graph.outputs)}
    buffers: dict[Value, int] = {}
    tasks = []
    for operation in operations:
        used = free_values(operation)
        after = frozenset(position[value.producer] for value in used if value.producer in position)
        touched = [*used, *operation.results]
        if operation in storage.copies:
            touched = [end for copy in storage.copies[operation] for end in (copy.source, copy.destination)]
        roots = [storage.place(value).root for value in touched]
        kept = [root for root in roots if root not in outside and not root.is_constant]
        tasks.append(Task(after, frozenset(buffers.setdefault(root, len(buffers)) for root in kept)))
    sizes = [-(-root.tensor_type.bytes // ALIGNMENT) * ALIGNMENT for root in buffers]
    return tasks, sizes
