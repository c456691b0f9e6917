"""Divide operations with several contractions into stages: one contraction each, and what stands around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.ir.core import CONSTANT, Operation, Value
from optc.ops.declaration import Kind, declaration_of


@dataclass(frozen=True)
class StageOperations:
    """One link of a chain.

    Attributes:
        anchor: the contraction.
        operations: all operations of the stage, in order, without constants.
        result: what the next stage reads as its contraction's data; None for the last stage.
    """

    anchor: Operation
    operations: tuple[Operation, ...]
    result: Value | None


def is_contraction(operation: Operation) -> bool:
    """Whether an operation can be a stage's anchor."""
    return declaration_of(operation.name).kind is Kind.CONTRACTION


def chain(operations: Sequence[Operation], outputs: Sequence[Value]) -> list[StageOperations] | str:
    """The stages of some operations, or why they are no chain in which each stage feeds only the next one's data.

    Args:
        operations: in a topological order; constants are left out.
        outputs: values that are needed outside.
    """
    operations = [operation for operation in operations if operation.name != CONSTANT]
    anchors = [operation for operation in operations if is_contraction(operation)]
    if not anchors:
        return "no contraction"
    stages: list[StageOperations] = []
    taken: set[Operation] = set()
    for number, anchor in enumerate(anchors):
        last = number == len(anchors) - 1
        before = set(operations) if last else _ancestors(anchors[number + 1], operations)
        own = tuple(each for each in operations if each in before and each not in taken)
        if anchor not in own or sum(map(is_contraction, own)) != 1:
            return f"{anchor.name} does not feed {anchors[-1 if last else number + 1].name}"
        result = None
        if not last:
            result = anchors[number + 1].operands[0]
            if result is None or result.producer not in own:
                return f"{anchor.name} does not make the data of {anchors[number + 1].name}"
            refusal = _escape(own, result, outputs)
            if refusal is not None:
                return refusal
        taken.update(own)
        stages.append(StageOperations(anchor, own, result))
    return stages


def _escape(own: Sequence[Operation], result: Value, outputs: Sequence[Value]) -> str | None:
    """Why a stage hands on more than one value, to one reader; None when it does not."""
    inside = set(own)
    if len(result.uses) != 1 or result in outputs:
        return f"'{result.name}' is read more than once"
    for operation in own:
        for value in operation.results:
            if value is not result and (value in outputs or any(user not in inside for user in value.users)):
                return f"'{value.name}' is read outside its stage"
    return None


def _ancestors(operation: Operation, operations: Sequence[Operation]) -> set[Operation]:
    needed = set(operation.present_operands)
    found: set[Operation] = set()
    for each in reversed(operations):
        if any(result in needed for result in each.results):
            found.add(each)
            needed.update(each.present_operands)
    return found
