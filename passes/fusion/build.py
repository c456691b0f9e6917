"""Make `optc.fused` operations."""

from __future__ import annotations

from collections.abc import Sequence

from optc.costmodel.interface import Candidate
from optc.ir.clone import clone_operation
from optc.ir.core import CONSTANT, UNKNOWN, Graph, Operation, Value
from optc.passes.fusion.rules import is_inlined_constant

FUSED = "optc.fused"


def fused_operation(operations: Sequence[Operation]) -> Operation:
    """An `optc.fused` in no graph yet that computes what some operations of one graph, in order, compute.

    Small constants that a kernel must know are copied into the body; weights stay operands.
    """
    candidate = Candidate.of_operations(operations)
    inlined = [value for value in candidate.inputs if is_inlined_constant(value, operations)]
    operands = [value for value in candidate.inputs if value not in set(inlined)]
    body = Graph("body", [(value.name, value.type) for value in operands])
    mapping: dict[Value, Value] = dict(zip(operands, body.inputs, strict=True))
    for value in inlined:
        array = value.constant
        assert array is not None
        constant = Operation(CONSTANT, (), (value.type,), {"value": array}, result_names=(value.name,))
        mapping[value] = body.append(constant).result
    for operation in operations:
        body.append(clone_operation(operation, mapping))
    body.set_outputs([mapping[value] for value in candidate.outputs], [value.name for value in candidate.outputs])
    location = UNKNOWN
    for operation in operations:
        location = location + operation.location
    return Operation(
        FUSED,
        operands,
        [value.type for value in candidate.outputs],
        result_names=[value.name for value in candidate.outputs],
        graphs={"body": body},
        location=location,
    )


def fuse(operations: Sequence[Operation]) -> Operation:
    """Replace operations of one graph, in order, by one `optc.fused`, which stands where the last of them stood."""
    graph = operations[-1].graph
    assert graph is not None
    fused = fused_operation(operations)
    graph.insert(fused, operations[-1].next)
    for old, new in zip(Candidate.of_operations(operations).outputs, fused.results, strict=True):
        old.replace_by(new)
    for operation in reversed(operations):
        graph.erase(operation)
    return fused


def joined(groups: Sequence[Operation]) -> Operation:
    """An `optc.fused` in no graph yet that computes what several, in order, compute.

    Only the results of the last one are results: nothing else may read those of the others.
    """
    inside = {result for group in groups for result in group.results}
    read = dict.fromkeys(value for group in groups for value in group.present_operands if value not in inside)
    body = Graph("body", [(value.name, value.type) for value in read])
    mapping: dict[Value, Value] = dict(zip(read, body.inputs, strict=True))
    for group in groups:
        nested = group.graphs["body"]
        inner = {own: mapping[value] for own, value in zip(nested.inputs, group.present_operands, strict=True)}
        for operation in nested:
            body.append(clone_operation(operation, inner))
        mapping.update((value, inner[own]) for value, own in zip(group.results, nested.outputs, strict=True))
    last = groups[-1]
    body.set_outputs([mapping[value] for value in last.results], [value.name for value in last.results])
    location = UNKNOWN
    for group in groups:
        location = location + group.location
    return Operation(
        FUSED,
        list(read),
        [value.type for value in last.results],
        result_names=[value.name for value in last.results],
        graphs={"body": body},
        location=location,
    )
