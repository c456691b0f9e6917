"""Writes out loops that run a few times, a number known now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir.clone import Mapping, clone_operation
from optc.ir.core import Graph, Module, Operation, Value
from optc.ops.values import ints_of, value_of
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import Builder, Miss, OperationRule, apply_rules


@dataclass(frozen=True)
class InlineLoops(Pass):
    """Replace a Loop of few rounds, whose number is known, by that many copies of its body.

    Options:
        max_operations: what a loop may grow to: rounds times operations of the body.
    """

    name: ClassVar[str] = "inline-loops"

    max_operations: int = 256

    def run(self, module: Module, context: PassContext) -> bool:
        def inline(op: Builder, operation: Operation) -> list[Value] | Miss:
            rounds = _rounds(operation)
            if isinstance(rounds, str):
                return Miss(rounds)
            size = sum(1 for _ in operation.graphs["body"].walk())
            if rounds * size > self.max_operations:
                what = f"{rounds} rounds of {size} operations"
                return Miss(f"{what} are above max-operations = {self.max_operations}")
            return _inlined(op, operation, rounds)

        rule = OperationRule("inline-loop", frozenset({"onnx.Loop"}), inline)
        return apply_rules(module, [rule], context, self.name)


def _rounds(operation: Operation) -> int | str:
    """How often a Loop runs, or why that is not known."""
    body = operation.graphs["body"]
    limit = ints_of(operation.operand(0))
    if limit is None:
        return "the number of rounds is known only at run time"
    condition = operation.operand(1)
    if condition is not None and not _is_true(condition):
        return "the condition is known only at run time"
    again = body.outputs[0]
    while again.producer is not None and again.producer.name == "onnx.Identity" and again.producer.operands[0]:
        again = again.producer.operands[0]
    if again is not body.inputs[1] and not _is_true(again):
        return "the body decides whether it runs again"
    scans = len(operation.results) - (len(body.inputs) - 2)
    return "a loop without rounds gives empty results" if limit[0] <= 0 and scans else max(0, limit[0])


def _is_true(value: Value) -> bool:
    known = value_of(value)
    return known is not None and known.size == 1 and known.item() is True


def _inlined(op: Builder, operation: Operation, rounds: int) -> list[Value]:
    body = operation.graphs["body"]
    carried: list[Value] = []
    for value in operation.operands[2:]:
        assert value is not None
        carried.append(value)
    scans: list[list[Value]] = [[] for _ in range(len(operation.results) - len(carried))]
    for number in range(rounds):
        mapping: Mapping = {}
        first = op.constant(np.asarray(number, np.int64)), op.constant(np.asarray(True))
        mapping.update(zip(body.inputs, (*first, *carried), strict=True))
        outputs = _copy(op, body, mapping)[1:]
        carried, scanned = outputs[: len(carried)], outputs[len(carried) :]
        for found, value in zip(scans, scanned, strict=True):
            found.append(op.Unsqueeze(value, [0]))
    joined = [parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0) for parts in scans]
    return [*carried, *joined]


def _copy(op: Builder, body: Graph, mapping: Mapping) -> list[Value]:
    """Put a copy of the body's operations in front of the loop; returns the copies of its outputs."""
    for operation in body:
        copy = clone_operation(operation, mapping)
        op.graph.insert(copy, op.anchor)
        op.created.append(copy)
    return [mapping.get(value, value) for value in body.outputs]
