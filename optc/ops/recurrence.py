"""`optc.recurrence`: the part of an LSTM or GRU that has to go step by step, once its inputs have met their weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.ir.core import Operation
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Kind, declare
from optc.ops.shapes import integer, tensor, text

RECURRENCE = "optc.recurrence"
PROJECTED, WEIGHTS, STATE, MEMORY, BIAS, LENGTHS = range(6)
"""Positions of the operands: [steps, batch, gates·hidden]; [hidden, gates·hidden]; [batch, hidden]; [batch, hidden],
of an LSTM only; [hidden], the bias inside the reset gate of a GRU that has it there; i32 [batch], the steps of each
sample where they are not all: behind them its states are zero, and the last one is that of its last step."""

GATES = {"lstm": 4, "gru": 3}
"""By cell; an LSTM's gates are input, output, forget and cell, a GRU's update, reset and hidden."""

_ATTRIBUTES = frozenset({"cell", "reverse"})
_POINTWISE = {"lstm": 25, "gru": 20}  # operations of an element of the state and step, exponentials included


def cell_of(operation: Operation) -> str:
    """A key of `GATES`."""
    return text(operation, "cell", "lstm")


def _infer(operation: Operation) -> Sequence[ValueType]:
    projected, state = tensor(operation, PROJECTED), tensor(operation, STATE)
    if projected.shape is None or state.shape is None:
        raise ValueError("the shapes of its operands must be known")
    last = TensorType(projected.dtype, state.shape)
    whole = TensorType(projected.dtype, (projected.shape[0], *state.shape))
    return (whole, last, last)[: len(operation.results)]


def _verify(operation: Operation) -> None:
    cell = cell_of(operation)
    if cell not in GATES or operation.attributes.keys() - _ATTRIBUTES:
        raise ValueError(f"its cell is one of {', '.join(GATES)}, and it runs in reverse or not")
    given = [operation.operand(position) is not None for position in range(5)]
    if not all(given[:3]) or given[MEMORY] != (cell == "lstm") or (given[BIAS] and cell == "lstm"):
        raise ValueError("it takes inputs, weights and a state; an LSTM its memory, a GRU perhaps a bias")
    rows, columns = tensor(operation, WEIGHTS).shape or (0, 0)
    if columns != GATES[cell] * int(rows):  # type: ignore[arg-type]
        raise ValueError(f"its weights [{rows}, {columns}] are not [hidden, {GATES[cell]}·hidden]")
    if len(operation.results) != (3 if cell == "lstm" else 2):
        raise ValueError("its results are all states, the last one, and the last memory of an LSTM")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _evaluate(operation: Operation, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """In double precision."""
    given = [*arrays, *[None] * (LENGTHS + 1 - len(arrays))]
    lengths = given.pop()
    if lengths is None:
        return _run(operation, given)
    projected, weights, state, memory, bias = given
    assert projected is not None and state is not None
    samples = []
    for sample, length in enumerate(np.clip(lengths, 0, len(projected))):
        at = slice(sample, sample + 1)
        states = [state[at], *([] if memory is None else [memory[at]])]
        own = [projected[:length, at], weights, states[0], None if memory is None else states[1], bias]
        whole, *last = _run(operation, own) if length else [projected[:0, at, : state.shape[1]], *states]
        samples.append([np.pad(whole, ((0, len(projected) - length), (0, 0), (0, 0))), *last])
    return [np.concatenate(parts, 0 if place else 1) for place, parts in enumerate(zip(*samples, strict=True))]


def _run(operation: Operation, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """All steps of all samples."""
    projected, weights, state, memory, bias = (None if each is None else each.astype(np.float64) for each in arrays)
    assert projected is not None and weights is not None and state is not None
    hidden, states = weights.shape[0], []
    order = range(len(projected))
    for step in reversed(order) if integer(operation, "reverse") else order:
        at, product = projected[step], state @ weights
        if memory is not None:
            i, o, f, c = np.split(at + product, 4, axis=1)
            memory = _sigmoid(f) * memory + _sigmoid(i) * np.tanh(c)
            state = _sigmoid(o) * np.tanh(memory)
        else:
            update, reset = np.split(_sigmoid((at + product)[:, : 2 * hidden]), 2, axis=1)
            rest = weights[:, 2 * hidden :]
            inner = reset * (product[:, 2 * hidden :] + bias) if bias is not None else (reset * state) @ rest
            candidate = np.tanh(at[:, 2 * hidden :] + inner)
            state = candidate + update * (state - candidate)
        states.append(state)
    if integer(operation, "reverse"):
        states.reverse()
    found = [np.stack(states), state] + ([memory] if memory is not None else [])
    assert arrays[0] is not None
    return [each.astype(arrays[0].dtype) for each in found]


def _flops(operation: Operation) -> int:
    projected, weights = operation.operands[:2]
    assert projected is not None and weights is not None
    steps, batch, columns = projected.shape
    hidden = weights.shape[0]
    return int(steps * batch * hidden * (2 * columns + _POINTWISE[cell_of(operation)]))


declare(RECURRENCE, Kind.CONTRACTION, infer=_infer, evaluate=_evaluate, verify=_verify, flops=_flops)
