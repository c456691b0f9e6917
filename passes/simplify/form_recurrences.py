"""Splits LSTM and GRU into what can be done for all steps at once, and what goes step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Attribute, Module, Operation, Value
from optc.ops.recurrence import RECURRENCE
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import Builder, Miss, OperationRule, apply_rules
from optc.passes.simplify.recurrent_cells import (
    RECURRENT,
    Cell,
    directions_of,
    initial_state,
    refusal,
    steps_of,
    uneven_lengths,
)


@dataclass(frozen=True)
class FormRecurrences(Pass):
    """Replace LSTM and GRU with constant weights by one MatMul and one `optc.recurrence` a direction.

    Only where the target has native code for a recurrence, and none for the operation itself.
    """

    name: ClassVar[str] = "form-recurrences"

    def run(self, module: Module, context: PassContext) -> bool:
        def form(op: Builder, operation: Operation) -> Sequence[Value] | Miss | None:
            if context.supports(operation) is None:
                return None
            if (reason := refusal(operation)) is not None:
                return Miss(reason)
            results = _formed(op, operation)
            made = next(each for each in op.created if each.name == RECURRENCE)
            reason = context.supports(made)
            return results if reason is None else Miss(reason)

        return apply_rules(module, [OperationRule("recurrence", RECURRENT, form)], context, self.name)


def _formed(op: Builder, operation: Operation) -> list[Value]:
    data = operation.operands[0]
    assert data is not None
    length, width = steps_of(operation), data.shape[2]
    batch = data.tensor_type.elements // (length * width)
    flat = op.Reshape(data, [length * batch, width])
    wholes, lasts, lengths = [], [], uneven_lengths(operation)
    for direction, backwards in enumerate(directions_of(operation)):
        cell = Cell(op, operation, direction)
        projected = op.Reshape(cell.project(flat), [length, batch, cell.recurrence.shape[1]])
        states = [initial_state(op, operation, place, direction, batch, cell.hidden) for place in cell.states]
        bias = cell.state_bias[2 * cell.hidden :] if cell.late else None
        operands = (projected, cell.recurrence, states[0], states[1] if cell.lstm else None, bias, lengths)
        attributes: dict[str, Attribute] = {"cell": "lstm" if cell.lstm else "gru", "reverse": int(backwards)}
        whole, *last = op.call(RECURRENCE, operands, attributes, outputs=1 + len(states))
        wholes.append(op.Reshape(whole, [length, 1, batch, cell.hidden]))
        lasts.append([op.Reshape(each, [1, batch, cell.hidden]) for each in last])
    joined = [(wholes, 1), *((list(parts), 0) for parts in zip(*lasts, strict=True))]
    return [
        op.Reshape(parts[0] if len(parts) == 1 else op.Concat(*parts, axis=axis), list(result.shape))
        for result, (parts, axis) in zip(operation.results, joined, strict=False)
    ]
