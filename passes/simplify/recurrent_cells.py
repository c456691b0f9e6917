"""What the passes on LSTM and GRU share: which they take apart, and the weights of a direction."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.rewrite import Builder
from optc.passes.rewrite.matching import attribute
from optc.passes.simplify.facts import shape_of

RECURRENT = frozenset({"onnx.LSTM", "onnx.GRU"})

_GATES = {"onnx.LSTM": 4, "onnx.GRU": 3}
_ACTIVATIONS = {"onnx.LSTM": ("Sigmoid", "Tanh", "Tanh"), "onnx.GRU": ("Sigmoid", "Tanh")}


def directions_of(operation: Operation) -> tuple[bool, ...]:
    """For each direction whether it runs backwards."""
    return {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[attribute(operation, "direction")]


def steps_of(operation: Operation) -> int:
    """The length of the sequence."""
    data = operation.operands[0]
    assert data is not None
    return data.shape[1 if attribute(operation, "layout") else 0]


def uneven_lengths(operation: Operation) -> Value | None:
    """The lengths of the sequences of the batch, where some may be shorter than the longest could be."""
    lengths = operation.operand(4)
    whole = lengths is None or (lengths.constant is not None and (lengths.constant == steps_of(operation)).all())
    return None if whole else lengths


def refusal(operation: Operation) -> str | None:
    """Why an LSTM or GRU cannot be taken apart; None when it can."""
    data = operation.operands[0]
    shape = shape_of(data)
    if data is None or shape is None or not all(isinstance(dim, int) for dim in shape):
        return "the length of the sequence is known only at run time"
    by_batch = bool(attribute(operation, "layout"))
    given = [value.constant for value in operation.operands[1:4] if value is not None]
    if any(array is None for array in given):
        return "its weights are known only at run time"
    if operation.operand(7) is not None:
        return "it has peephole weights"
    if attribute(operation, "clip") is not None or attribute(operation, "input_forget"):
        return "it clips its gates, or couples two of them"
    wanted = _ACTIVATIONS[operation.name] * len(directions_of(operation))
    if tuple(attribute(operation, "activations") or wanted) != wanted:
        return "its activations are not Sigmoid and Tanh"
    if by_batch and data.shape[0] != 1:
        return "its batch comes before its steps"
    return None


def initial_state(op: Builder, operation: Operation, position: int, direction: int, batch: int, hidden: int) -> Value:
    """The state before the first step, [batch, hidden]."""
    given = operation.operand(position)
    data = operation.operands[0]
    assert data is not None
    if given is None:
        return op.constant(np.zeros((batch, hidden), data.dtype.numpy))
    if len(directions_of(operation)) == 1:
        return op.Reshape(given, [batch, hidden])
    axis = 1 if attribute(operation, "layout") else 0
    return op.Reshape(op.Slice(given, [direction], [direction + 1], [axis]), [batch, hidden])


class Cell:
    """The weights of one direction; gates in ONNX's order (LSTM: i o f c, GRU: z r h).

    Attributes:
        states: positions of the operands that hold the states before the first step.
        weight, recurrence: [width, gates·hidden], [hidden, gates·hidden].
        input_bias, state_bias: [gates·hidden].
        late: whether the reset gate of a GRU comes behind the product with the state.
    """

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

    def project(self, data: Value) -> Value:
        """x·W + b for all steps; state biases join where nothing comes between them and the gates."""
        bias = self.input_bias + self.state_bias
        if self.late:
            bias = bias.copy()
            bias[2 * self.hidden :] = self.input_bias[2 * self.hidden :]
        return self.op.Add(self.op.MatMul(data, self.weight), bias)
