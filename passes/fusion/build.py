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
