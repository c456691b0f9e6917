"""Recurrent operations in the order of axes that onnxruntime has kernels for."""

from __future__ import annotations

from collections.abc import Sequence

from optc.ir.core import Operation, Value
from optc.passes.rewrite import Builder, on
from optc.passes.rewrite.matching import attribute

_SWAPPED = (1, 0, 2)
_STATES = (5, 6)  # initial_h, initial_c


@on("LSTM", "GRU", "RNN")
def steps_first(op: Builder, operation: Operation) -> Sequence[Value] | None:
    """`layout=1` (batch first) → the default layout (steps first) between transposes."""
    if not attribute(operation, "layout"):
        return None
    operands = list(operation.operands)
    for position in (0, *_STATES):
        if position < len(operands) and operands[position] is not None:
            operands[position] = op.Transpose(operands[position], perm=_SWAPPED)
    made = op.clone(operation, operands, layout=None)
    whole, *states = made if isinstance(made, tuple | list) else [made]
    return [op.Transpose(whole, perm=(2, 0, 1, 3)), *(op.Transpose(state, perm=_SWAPPED) for state in states)]


RULES = (steps_first,)
