"""Operations whose reads are placed by indices that are known only when the model runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optc.backends.tvm.lowering.binding import bind
from optc.backends.tvm.lowering.context import Combiner, LoweringContext, Operands, immediate, lowers
from optc.backends.tvm.lowering.movement import clamp_index
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


def wrap_index(index: PrimExpr, extent: int) -> PrimExpr:
    """A run-time index as int32: negative ones count from the end, and none leads outside the buffer."""
    from tvm import tirx

    index = bind(index.astype("int32"))
    return bind(clamp_index(tirx.Select(index < 0, index + extent, index), extent))


@lowers("onnx.Gather")
def _gather(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    data, indices = operands[0], operands[1]
    assert data is not None and indices is not None
    axis = int(operation.attributes.get("axis", 0)) % len(data.shape)  # type: ignore[arg-type]
    rank = len(indices.shape)

    def element(*place: Any) -> PrimExpr:
        chosen = wrap_index(indices(*place[axis : axis + rank]), data.shape[axis])
        return data(*place[:axis], chosen, *place[axis + rank :])

    return [LogicalTensor(operation.results[0].shape, data.dtype, element)]


@lowers("onnx.GatherElements")
def _gather_elements(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    data, indices = operands[0], operands[1]
    assert data is not None and indices is not None
    axis = int(operation.attributes.get("axis", 0)) % len(data.shape)  # type: ignore[arg-type]

    def element(*place: Any) -> PrimExpr:
        chosen = wrap_index(indices(*place), data.shape[axis])
        return data(*place[:axis], chosen, *place[axis + 1 :])

    return [LogicalTensor(indices.shape, data.dtype, element)]


@lowers("onnx.GatherND")
def _gather_nd(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    data, indices = operands[0], operands[1]
    assert data is not None and indices is not None
    batch = int(operation.attributes.get("batch_dims", 0))  # type: ignore[arg-type]
    outer, depth = len(indices.shape) - 1, indices.shape[-1]

    def element(*place: Any) -> PrimExpr:
        chosen = [wrap_index(indices(*place[:outer], k), data.shape[batch + k]) for k in range(depth)]
        return data(*place[:batch], *chosen, *place[outer:])

    return [LogicalTensor(operation.results[0].shape, data.dtype, element)]


@lowers("onnx.OneHot")
def _one_hot(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    indices, values = operands[0], operands[2]
    assert indices is not None and values is not None
    result = operation.results[0]
    axis = int(operation.attributes.get("axis", -1)) % len(result.shape)  # type: ignore[arg-type]
    depth = result.shape[axis]

    def element(*place: Any) -> PrimExpr:
        from tvm import tirx

        index = bind(indices(*place[:axis], *place[axis + 1 :]).astype("int32"))
        wrapped = tirx.Select(index < 0, index + depth, index)
        return tirx.Select(tirx.EQ(wrapped, tirx.convert(place[axis])), values(1), values(0))

    return [LogicalTensor(result.shape, result.dtype, element)]


@lowers("onnx.ReverseSequence")
def _reverse_sequence(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    data, lengths = operands[0], operands[1]
    assert data is not None and lengths is not None
    batch = int(operation.attributes.get("batch_axis", 1))  # type: ignore[arg-type]
    time = int(operation.attributes.get("time_axis", 0))  # type: ignore[arg-type]

    def element(*place: Any) -> PrimExpr:
        from tvm import tirx

        length = bind(lengths(place[batch]).astype("int32"))
        step = tirx.convert(place[time])
        source = clamp_index(tirx.Select(step < length, length - 1 - step, step), data.shape[time])
        return data(*place[:time], source, *place[time + 1 :])

    return [LogicalTensor(data.shape, data.dtype, element)]


@lowers("onnx.CumSum")
def _cumulative_sum(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    """Each element sums its own prefix: quadratic in the axis, which capability limits."""
    from optc.backends.tvm.lowering.movement import parameter
    from optc.backends.tvm.lowering.reductions import SUM

    data = operands[0]
    axis_operand = parameter(operation, 1)
    assert data is not None and axis_operand is not None
    axis = int(axis_operand.reshape(-1)[0]) % len(data.shape)
    exclusive = bool(operation.attributes.get("exclusive", 0))
    reverse = bool(operation.attributes.get("reverse", 0))

    def body(place: Any, reduced: Any) -> tuple[PrimExpr, ...]:
        from tvm import tirx

        (k,), own = reduced, place[axis]
        first, second = (own, k) if reverse else (k, own)
        counted = first < second if exclusive else first <= second
        return (
            tirx.Select(tirx.convert(counted), data(*place[:axis], k, *place[axis + 1 :]), immediate(0, data.dtype)),
        )

    combiner: Combiner = SUM
    return context.reduce(data.shape, (data.dtype,), (data.shape[axis],), body, combiner, "prefix")
