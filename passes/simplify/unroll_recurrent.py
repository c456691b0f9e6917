"""Takes LSTM and GRU apart into matrix products and activations, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir.core import Module, Operation, Value
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import Builder, Miss, OperationRule, apply_rules
from optc.passes.rewrite.matching import attribute
from optc.passes.simplify.facts import shape_of


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
            reason = _refusal(operation, self.max_steps)
            return Miss(reason) if reason is not None else _unrolled(op, operation)

        rule = OperationRule("unroll", frozenset({"onnx.LSTM", "onnx.GRU"}), unroll)
        return apply_rules(module, [rule], context, self.name)


_GATES = {"onnx.LSTM": 4, "onnx.GRU": 3}
_ACTIVATIONS = {"onnx.LSTM": ("Sigmoid", "Tanh", "Tanh"), "onnx.GRU": ("Sigmoid", "Tanh")}


def _directions(operation: Operation) -> tuple[bool, ...]:
    """For each direction whether it runs backwards."""
    return {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[attribute(operation, "direction")]


def _refusal(operation: Operation, max_steps: int) -> str | None:
    """Why an operation is not unrolled."""
    data, lengths = operation.operands[0], operation.operand(4)
    shape = shape_of(data)
    if data is None or shape is None or not all(isinstance(dim, int) for dim in shape):
        return "the length of the sequence is known only at run time"
    by_batch = bool(attribute(operation, "layout"))
    batch, length = data.shape[:2] if by_batch else data.shape[1::-1]
    directions = _directions(operation)
    if length * len(directions) > max_steps:
        return f"its {length} steps in {len(directions)} directions are above max-steps = {max_steps}"
    if lengths is not None and (lengths.constant is None or (lengths.constant != length).any()):
        return "the sequences of the batch have different lengths"
    given = [value.constant for value in operation.operands[1:4] if value is not None]
    if any(array is None for array in given):
        return "its weights are known only at run time"
    if operation.operand(7) is not None:
        return "it has peephole weights"
    if attribute(operation, "clip") is not None or attribute(operation, "input_forget"):
        return "it clips its gates, or couples two of them"
    wanted = _ACTIVATIONS[operation.name] * len(directions)
    if tuple(attribute(operation, "activations") or wanted) != wanted:
        return "its activations are not Sigmoid and Tanh"
    if by_batch and batch != 1:
        return "its batch comes before its steps"
    return None


def _unrolled(op: Builder, operation: Operation) -> list[Value]:
    data, weights, recurrences = operation.operands[:3]
    assert data is not None and weights is not None and recurrences is not None
    by_batch = bool(attribute(operation, "layout"))
    shape = data.shape
    length, batch, width = (shape[1], shape[0], shape[2]) if by_batch else shape
    directions = _directions(operation)
    hidden = recurrences.shape[2]
    flat = op.Reshape(data, [length * batch, width])
    outputs: list[list[Value]] = []
    finals: list[tuple[Value, ...]] = []
    for direction, backwards in enumerate(directions):
        cell = _Cell(op, operation, direction)
        projected = cell.project(flat)
        state = tuple(_initial(op, operation, position, direction, batch, hidden) for position in cell.states)
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


def _initial(op: Builder, operation: Operation, position: int, direction: int, batch: int, hidden: int) -> Value:
    """The state before the first step, [batch, hidden]."""
    given = operation.operand(position)
    data = operation.operands[0]
    assert data is not None
    if given is None:
        return op.constant(np.zeros((batch, hidden), data.dtype.numpy))
    if len(_directions(operation)) == 1:
        return op.Reshape(given, [batch, hidden])
    axis = 1 if attribute(operation, "layout") else 0
    return op.Reshape(op.Slice(given, [direction], [direction + 1], [axis]), [batch, hidden])


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


class _Cell:
    """The weights of one direction; gates in ONNX's order (LSTM: i o f c, GRU: z r h)."""

    def __init__(self, op: Builder, operation: Operation, direction: int) -> None:
        self.op = op
        self.lstm = operation.name == "onnx.LSTM"
        self.states = (5, 6) if self.lstm else (5,)
        weight, recurrence = (value.constant[direction] for value in operation.operands[1:3])  # type: ignore[union-attr,index]
        self.hidden = recurrence.shape[1]
        self.weight = np.ascontiguousarray(weight.T)
        self.recurrence = np.ascontiguousarray(recurrence.T)
        bias = operation.operand(3)
        gates = _GATES[operation.name] * self.hidden
        both = np.zeros(2 * gates, weight.dtype) if bias is None or bias.constant is None else bias.constant[direction]
        self.input_bias, self.state_bias = both[:gates], both[gates:]
        self.late = not self.lstm and bool(attribute(operation, "linear_before_reset"))
        self._recurrences = self._split_recurrences()

    def _split_recurrences(self) -> list[Value]:
        """LSTM: one matrix for all gates. GRU: one for z and r, one for h."""
        if self.lstm:
            return [self.op.constant(self.recurrence)]
        split = 2 * self.hidden
        parts = (self.recurrence[:, :split], self.recurrence[:, split:])
        return [self.op.constant(np.ascontiguousarray(part)) for part in parts]

    def project(self, data: Value) -> Value:
        """x·W + b for all steps; state biases join where nothing comes between them and the gates."""
        bias = self.input_bias + self.state_bias
        if self.late:
            bias = bias.copy()
            bias[2 * self.hidden :] = self.input_bias[2 * self.hidden :]
        return self.op.Add(self.op.MatMul(data, self.weight), bias)

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
