"""Takes the branch of an `If` that is the only one that can run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Graph, Location, Module, Operation, Value
from optc.ops.declaration import declaration_of
from optc.ops.values import value_of
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.rewrite.types import propagate_types, refined

_BRANCHES = {"then_branch": "else_branch", "else_branch": "then_branch"}


@dataclass(frozen=True)
class ConstantIf(Pass):
    """Put the operations of a branch in the place of an `If` whose condition is known.

    Where the condition is known only at run time but one branch cannot run with the shapes at hand, because an
    operation in it does not accept its operands, the other branch is taken: models carry such branches for inputs of
    other shapes. A remark names the operation.
    """

    name: ClassVar[str] = "constant-if"

    def run(self, module: Module, context: PassContext) -> bool:
        taken: dict[str, list[Location]] = defaultdict(list)
        missed: Operation | None = None
        changed = True
        while changed:
            changed = False
            missed = None
            for operation in [item for item in module.walk() if item.name == "onnx.If"]:
                if not operation.operands:  # it stood in a branch that was not taken
                    continue
                branch, reason = _only_branch(operation)
                if branch is None:
                    missed = missed or operation
                    continue
                taken[reason].append(operation.location)
                inline_branch(operation, branch)
                changed = True
        for reason, locations in taken.items():
            nodes = tuple(dict.fromkeys(node for location in locations for node in location.nodes))
            context.remarks.append(Remark(self.name, "applied", self.name, reason, Location(nodes)))
        if missed is not None and missed.operands[0] is not None:
            reason = f"the condition '{missed.operands[0].name}' is known only at run time"
            context.remarks.append(Remark(self.name, "missed", self.name, reason, missed.location))
        return bool(taken)


def _only_branch(operation: Operation) -> tuple[str | None, str]:
    """The branch to take, and why; None when both may be taken."""
    condition = value_of(operation.operands[0])
    if condition is not None and condition.size == 1 and condition.item() is not None:
        return ("then_branch" if condition.item() else "else_branch"), "the condition is known"
    faults = {name: _fault(operation.graphs[name]) for name in _BRANCHES}
    broken = [name for name, fault in faults.items() if fault is not None]
    if len(broken) != 1:
        return None, ""
    return _BRANCHES[broken[0]], f"the {broken[0]} cannot run: {faults[broken[0]]}"


def _fault(branch: Graph) -> str | None:
    """Why a branch fails whenever it is taken; None when it need not."""
    for operation in branch:
        if operation.graphs:
            continue  # what it holds need not be executed
        declaration = declaration_of(operation.name)
        try:
            declaration.verify(operation)
            declaration.infer(operation)
        except ValueError as error:
            return f"{operation.name} {operation.location}: {error}"
    return None


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
