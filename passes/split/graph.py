"""From a graph of the IR, with costs of its operations, to a split problem."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from optc.ir.captures import free_values
from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.ir.types import TensorType
from optc.ops.declaration import Kind, declaration_of
from optc.passes.split.problem import SplitProblem, Task, Transfer, Weights

_TRANSPARENT = (Kind.ELEMENTWISE, Kind.MOVEMENT)


def operations_of(graph: Graph) -> list[Operation]:
    """The tasks: all operations but the constants, in order."""
    return [operation for operation in graph if operation.name != CONSTANT]


def crossing_values(graph: Graph) -> list[Value]:
    """The transfers: inputs and results that an operation reads or the caller wants, in order."""
    read = {value for operation in operations_of(graph) for value in free_values(operation)} | set(graph.outputs)
    made = (result for operation in operations_of(graph) for result in operation.results)
    return [value for value in (*graph.inputs, *made) if value in read and not value.is_constant]


def split_problem(
    graph: Graph,
    seconds: Sequence[Mapping[Operation, float]],
    joules: Mapping[Operation, float],
    size: Callable[[Value], int],
    private: Collection[Value] = (),
) -> SplitProblem:
    """The problem of cutting a graph.

    Args:
        graph: with static types wherever it may be cut.
        seconds: of each operation, for each tier.
        joules: of each operation on the device; empty where the device states no energy figures.
        size: bytes of a value when it is sent.
        private: values that must not leave the device; see `private_values`.
    """
    operations = operations_of(graph)
    number = {operation: index for index, operation in enumerate(operations)}
    readers: dict[Value, list[int]] = {}
    for operation in operations:
        for value in free_values(operation):
            readers.setdefault(value, []).append(number[operation])
    wanted = set(graph.outputs)
    kept = set(private)
    transfers = []
    for value in crossing_values(graph):
        fixed = isinstance(value.type, TensorType) and value.type.is_static and value.type.dtype.bits > 0
        stored = value.tensor_type.bytes if fixed else 0
        transfers.append(
            Transfer(
                name=value.name,
                producer=None if value.producer is None else number[value.producer],
                consumers=tuple(dict.fromkeys(readers.get(value, ()))),
                bytes=size(value) if fixed else 0,
                wanted=value in wanted,
                returned_bytes=stored if value in wanted else 0,
                movable=fixed and value not in kept,
                stored=stored,
            )
        )
    tasks = tuple(
        Task(_label(operation), tuple(each.get(operation, 0.0) for each in seconds), joules.get(operation, 0.0))
        for operation in operations
    )
    weights = tuple(
        Weights(value.constant.nbytes, tuple(users))
        for value, users in readers.items()
        if value.constant is not None and value.constant.dtype.kind != "O"
    )
    return SplitProblem(len(seconds), tasks, tuple(transfers), weights)


def private_values(graph: Graph, given: Collection[Value]) -> set[Value]:
    """The given values, and what is only another form of them.

    Element-wise operations and movements of nothing but private values (and constants) give private values: a scaled,
    cast or cropped picture is still the picture. What is left after a contraction, a window or a reduction is not.
    """
    found = set(given)
    for operation in operations_of(graph):
        read = [value for value in free_values(operation) if not value.is_constant]
        if read and all(value in found for value in read) and declaration_of(operation.name).kind in _TRANSPARENT:
            found.update(operation.results)
    return found


def _label(operation: Operation) -> str:
    return ", ".join(operation.location.nodes) or (operation.results[0].name if operation.results else operation.name)
