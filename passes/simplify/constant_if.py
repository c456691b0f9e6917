"""Takes the branch of an `If` whose condition is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Location, Module, Operation, Value
from optc.ops.values import value_of
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.rewrite.types import propagate_types, refined


@dataclass(frozen=True)
class ConstantIf(Pass):
    """Put the operations of the taken branch in the place of an `If` with a known condition."""

    name: ClassVar[str] = "constant-if"

    def run(self, module: Module, context: PassContext) -> bool:
        taken: list[Location] = []
        missed: list[Operation] = []
        waiting = [operation for operation in module.walk() if operation.name == "onnx.If"]
        for operation in waiting:
            if not operation.operands:  # it stood in a branch that was not taken
                continue
            condition = value_of(operation.operands[0])
            if condition is None or condition.size != 1 or condition.item() is None:
                missed.append(operation)
                continue
            taken.append(operation.location)
            inline_branch(operation, "then_branch" if condition.item() else "else_branch")
        if taken:
            nodes = tuple(dict.fromkeys(node for location in taken for node in location.nodes))
            times = "once" if len(taken) == 1 else f"{len(taken)} times"
            context.remarks.append(Remark(self.name, "applied", self.name, times, Location(nodes)))
        for operation in missed[:1]:
            condition_value = operation.operands[0]
            assert condition_value is not None
            reason = f"the condition '{condition_value.name}' is known only at run time"
            context.remarks.append(Remark(self.name, "missed", self.name, reason, operation.location))
        return bool(taken)


def inline_branch(operation: Operation, branch: str) -> None:
    """Move the operations of a branch in front of the `If` and let its readers read what the branch returns."""
    graph, body = operation.graph, operation.graphs[branch]
    assert graph is not None
    for inner in body:
        inner.location = inner.location + operation.location
        graph.insert(body.unlink(inner), operation)
    sharper: list[Value] = []
    for result, value in zip(operation.results, body.terminator.operands, strict=True):
        assert value is not None
        type = refined(value.type, result.type)
        if type != result.type:
            sharper.append(value)
        value.type = type
        if value.producer is not None and value.producer.graph is graph and not value.is_constant:
            value.name = result.name
        result.replace_by(value)
    graph.erase(operation)
    propagate_types(sharper)
