"""Takes LSTM and GRU apart into matrix products and activations, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir.core import Module, Operation, Value
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
class UnrollRecurrent(Pass):
    """Replace LSTM and GRU over few steps, with constant weights, by MatMul, Sigmoid, Tanh, Add and Mul.

    The product with the input is taken for all steps at once. Where the target runs the operation natively, it stays.

    Options:
        max_steps: the longest sequence, times the number of directions, that is unrolled.
    """

    name: ClassVar[str] = "unroll-recurrent"

    max_steps: int = 16

    def run(self, module: Module, context: PassContext) -> bool:
        def unroll(op: Builder, operation: Operation) -> Sequence[Value] | Miss | None:
            if context.supports(operation) is None:
                return None
            if (reason := refusal(operation)) is not None:
                return Miss(reason)
            if uneven_lengths(operation) is not None:
                return Miss("the sequences of the batch have different lengths")
            length, count = steps_of(operation), len(directions_of(operation))
            if length * count > self.max_steps:
                return Miss(f"its {length} steps in {count} directions are above max-steps = {self.max_steps}")
            return _unrolled(op, operation)

        return apply_rules(module, [OperationRule("unroll", RECURRENT, unroll)], context, self.name)


def _unrolled(op: Builder, operation: Operation) -> list[Value]:
    data, weights, recurrences = operation.operands[:3]
    assert data is not None and weights is not None and recurrences is not None
    length = steps_of(operation)
    batch, width = data.tensor_type.elements // (length * data.shape[2]), data.shape[2]
    directions = directions_of(operation)
    hidden = recurrences.shape[2]
    flat = op.Reshape(data, [length * batch, width])
    outputs: list[list[Value]] = []
    finals: list[tuple[Value, ...]] = []
    for direction, backwards in enumerate(directions):
        cell = _UnrolledCell(op, operation, direction)
        projected = cell.project(flat)
        state = tuple(initial_state(op, operation, position, direction, batch, hidden) for position in cell.states)
        steps: dict[int, Value] = {}
        for step in reversed(range(length)) if backwards else range(length):
            at_step = projected
            if length > 1:
                at_step = op.Slice(projected, [step * batch], [(step + 1) * batch], [0])
            state = cell.step(at_step, state)
            steps[step] = state[0]
        outputs.append([steps[step] for step in range(length)])
        finals.append(state)
    results = [_stacked(op, operation, outputs, length, batch, hidden)]
    for index in range(len(operation.results) - 1):
        parts = [op.Reshape(final[index], [1, batch, hidden]) for final in finals]
        joined = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)
        results.append(op.Reshape(joined, list(operation.results[1 + index].shape)))
    return results


def _stacked(
    op: Builder, operation: Operation, outputs: list[list[Value]], length: int, batch: int, hidden: int
) -> Value:
    """All states h: [length, directions, batch, hidden], or with the batch in front (a batch of one)."""
    parts = [
        op.Reshape(outputs[direction][step], [1, 1, batch, hidden])
        for step in range(length)
        for direction in range(len(outputs))
    ]
    joined = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)
    return op.Reshape(joined, list(operation.results[0].shape))


class _UnrolledCell(Cell):
    """A cell whose steps are operations."""

    def __init__(self, op: Builder, operation: Operation, direction: int) -> None:
        super().__init__(op, operation, direction)
        # LSTM: one matrix for all gates. GRU: one for z and r, one for h.
        split = self.recurrence.shape[1] if self.lstm else 2 * self.hidden
        parts = np.split(self.recurrence, [split], axis=1)
        self._recurrences = [op.constant(np.ascontiguousarray(part)) for part in parts if part.size]

    def part(self, value: Value, gate: int, count: int = 1) -> Value:
        return self.op.Slice(value, [gate * self.hidden], [(gate + count) * self.hidden], [1])

    def step(self, projected: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
        """One step from [batch, gates·hidden] and the state to the next state."""
        return self.lstm_step(projected, *state) if self.lstm else self.gru_step(projected, *state)

    def lstm_step(self, projected: Value, h: Value, c: Value) -> tuple[Value, ...]:
        op = self.op
        gates = op.Add(projected, op.MatMul(h, self._recurrences[0]))
        i, o, f = (op.Sigmoid(self.part(gates, gate)) for gate in range(3))
        c = op.Add(op.Mul(f, c), op.Mul(i, op.Tanh(self.part(gates, 3))))
        return op.Mul(o, op.Tanh(c)), c

    def gru_step(self, projected: Value, h: Value) -> tuple[Value, ...]:
        op = self.op
        gates = op.Sigmoid(op.Add(self.part(projected, 0, 2), op.MatMul(h, self._recurrences[0])))
        z, r = self.part(gates, 0), self.part(gates, 1)
        if self.late:
            inner = op.Add(op.MatMul(h, self._recurrences[1]), self.state_bias[2 * self.hidden :])
            candidate = op.Tanh(op.Add(self.part(projected, 2), op.Mul(r, inner)))
        else:
            candidate = op.Tanh(op.Add(self.part(projected, 2), op.MatMul(op.Mul(r, h), self._recurrences[1])))
        # (1 - z)·candidate + z·h
        return (op.Add(candidate, op.Mul(z, op.Sub(h, candidate))),)
