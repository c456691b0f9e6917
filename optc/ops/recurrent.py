"""LSTM, GRU and RNN."""

from __future__ import annotations

from collections.abc import Sequence

from optc.ir.core import Operation
from optc.ir.dims import Dim, Shape
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Count, Infer, Kind, declare
from optc.ops.shapes import fresh, integer, shape_of, tensor, text


def _recurrent(states: int) -> Infer:
    """Y and `states` final states."""

    def infer(operation: Operation) -> Sequence[ValueType]:
        data = tensor(operation, 0)
        shape = shape_of(operation, 0, 3)
        shape_of(operation, 1, 3)
        recurrence = shape_of(operation, 2, 3)
        directions = 2 if text(operation, "direction", "forward") == "bidirectional" else 1
        hidden: Dim = integer(operation, "hidden_size")
        if not hidden:
            hidden = recurrence[2] if recurrence is not None else fresh(operation, 3)
        by_batch = bool(integer(operation, "layout"))
        length: Dim = fresh(operation, 0) if shape is None else shape[1 if by_batch else 0]
        batch: Dim = fresh(operation, 2) if shape is None else shape[0 if by_batch else 1]
        whole: Shape
        last: Shape
        if by_batch:
            whole, last = (batch, length, directions, hidden), (batch, directions, hidden)
        else:
            whole, last = (length, directions, batch, hidden), (directions, batch, hidden)
        types = [TensorType(data.dtype, whole)] + [TensorType(data.dtype, last)] * states
        return types[: len(operation.results)]

    return infer


def _flops(gates: int, pointwise: int) -> Count:
    """Two matrix-vector products a gate and step, and the pointwise work of the cell."""

    def count(operation: Operation) -> int:
        data, weight = operation.operands[0], operation.operands[1]
        assert data is not None and weight is not None
        directions, rows, width = weight.shape
        hidden = rows // gates
        steps = data.shape[0] * data.shape[1]
        return directions * steps * (2 * rows * (width + hidden) + pointwise * hidden)

    return count


declare("onnx.LSTM", Kind.OPAQUE, infer=_recurrent(2), flops=_flops(4, 25))
declare("onnx.GRU", Kind.OPAQUE, infer=_recurrent(1), flops=_flops(3, 20))
declare("onnx.RNN", Kind.OPAQUE, infer=_recurrent(1), flops=_flops(1, 3))
