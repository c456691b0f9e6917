"""Reductions over axes: ONNX's Reduce family, ArgMax and ArgMin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.lowering.binding import bind, dtype_of
from optc.backends.tvm.lowering.context import Combiner, Elements, LoweringContext, Operands, lowers
from optc.backends.tvm.lowering.elementwise import as_dtype, convert, widened
from optc.backends.tvm.lowering.movement import integers, reshaped
from optc.backends.tvm.math.functions import const_like, exp, log, sqrt
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.dtypes import DType

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


def _constant(value: float) -> Callable[[tuple[str, ...]], Elements]:
    def identity(names: tuple[str, ...]) -> Elements:
        from tvm import tirx

        return tuple(tirx.const(value, name) for name in names)

    return identity


def _extreme(sign: int) -> Callable[[tuple[str, ...]], Elements]:
    def identity(names: tuple[str, ...]) -> Elements:
        from tvm import tirx

        if names[0].startswith("float"):
            first = tirx.const(sign * float("inf"), names[0])
        else:
            first = tirx.max_value(names[0]) if sign > 0 else tirx.min_value(names[0])
        return (first, *(tirx.const(0, name) for name in names[1:]))

    return identity


def _larger(x: Elements, y: Elements) -> Elements:
    from tvm import tirx

    return (tirx.Select(x[0] < y[0], y[0], x[0]),)


def _smaller(x: Elements, y: Elements) -> Elements:
    from tvm import tirx

    return (tirx.Select(x[0] > y[0], y[0], x[0]),)


SUM = Combiner("sum", _constant(0), lambda x, y: (x[0] + y[0],))
PRODUCT = Combiner("product", _constant(1), lambda x, y: (x[0] * y[0],))
MAXIMUM = Combiner("maximum", _extreme(-1), _larger)
MINIMUM = Combiner("minimum", _extreme(1), _smaller)


def working_dtype(dtype: DType) -> DType:
    """The type to accumulate in: half-precision floats accumulate in f32."""
    return dtypes.FLOAT32 if dtype.name in ("f16", "bf16") else dtype


def map_tensor(
    tensor: LogicalTensor, function: Callable[[PrimExpr], PrimExpr], dtype: DType | None = None
) -> LogicalTensor:
    """Apply a function to each element; `dtype` is that of the result when it differs."""
    return LogicalTensor(tensor.shape, dtype or tensor.dtype, lambda *indices: function(bind(tensor(*indices))))


def widen(tensor: LogicalTensor) -> LogicalTensor:
    """The tensor in its working type."""
    dtype = working_dtype(tensor.dtype)
    return tensor if dtype == tensor.dtype else LogicalTensor(tensor.shape, dtype, lambda *i: widened(tensor(*i)))


def over_axes(
    context: LoweringContext, source: LogicalTensor, axes: Sequence[int], combiner: Combiner, name: str
) -> LogicalTensor:
    """Reduce a tensor over axes, which stay with extent 1."""
    shape = tuple(1 if axis in axes else extent for axis, extent in enumerate(source.shape))
    extents = [source.shape[axis] for axis in axes]

    def body(indices: Sequence[Any], reduced: Sequence[Any]) -> Elements:
        place = list(indices)
        for axis, index in zip(axes, reduced, strict=True):
            place[axis] = index
        return (source(*place),)

    return context.reduce(shape, (source.dtype,), extents, body, combiner, name)[0]


def mean_over_axes(context: LoweringContext, source: LogicalTensor, axes: Sequence[int], name: str) -> LogicalTensor:
    """The mean over axes, which stay with extent 1."""
    count = 1
    for axis in axes:
        count *= source.shape[axis]
    total = over_axes(context, source, axes, SUM, name)
    if source.dtype.is_float:
        return map_tensor(total, lambda x: x * const_like(x, 1 / count))

    def divided(x: PrimExpr) -> PrimExpr:
        from tvm import tirx

        return tirx.truncdiv(x, const_like(x, count))

    return map_tensor(total, divided)


def normalized_axes(axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front, in order, each once."""
    return sorted({axis % rank for axis in axes})


def _axes_of(operation: Operation, rank: int) -> list[int]:
    axes = integers(operation, 1, "axes")
    if axes:
        return normalized_axes(axes, rank)
    return [] if operation.attributes.get("noop_with_empty_axes", 0) else list(range(rank))


def _reduction(
    name: str,
    combiner: Combiner,
    before: Callable[[PrimExpr], PrimExpr] | None = None,
    after: Callable[[PrimExpr], PrimExpr] | None = None,
) -> None:
    @lowers(f"onnx.{name}")
    def lowering(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
        source = operands[0]
        assert source is not None
        result = operation.results[0]
        axes = _axes_of(operation, len(source.shape))
        wide = widen(source)
        if before is not None:
            wide = map_tensor(wide, before)
        if name == "ReduceMean":
            reduced = mean_over_axes(context, wide, axes, "mean") if axes else wide
        else:
            reduced = over_axes(context, wide, axes, combiner, combiner.name) if axes else wide
        if after is not None:
            reduced = map_tensor(reduced, after)
        rounded = map_tensor(reduced, lambda x: as_dtype(x, result.dtype), result.dtype)
        return [reshaped(rounded, result.shape)]


def _square(x: PrimExpr) -> PrimExpr:
    x = bind(x)
    return x * x


def _magnitude(x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    if dtype_of(x).startswith("float"):
        return tirx.abs(x)
    return tirx.Select(x < const_like(x, 0), const_like(x, 0) - x, x)


def _root(x: PrimExpr) -> PrimExpr:
    return sqrt(x) if dtype_of(x).startswith("float") else sqrt(x.astype("float64")).astype(dtype_of(x))


_reduction("ReduceSum", SUM)
_reduction("ReduceMean", SUM)
_reduction("ReduceProd", PRODUCT)
_reduction("ReduceSumSquare", SUM, _square)
_reduction("ReduceL1", SUM, _magnitude)
_reduction("ReduceL2", SUM, _square, _root)
_reduction("ReduceLogSum", SUM, None, log)


@lowers("onnx.ReduceMax", "onnx.ReduceMin")
def _extremum(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    """Bools are reduced as bytes."""
    source = operands[0]
    assert source is not None
    result = operation.results[0]
    axes = _axes_of(operation, len(source.shape))
    wide = widen(source)
    if source.dtype.name == "bool":
        wide = map_tensor(source, lambda x: as_dtype(x, dtypes.UINT8), dtypes.UINT8)
    combiner = MAXIMUM if operation.name == "onnx.ReduceMax" else MINIMUM
    reduced = over_axes(context, wide, axes, combiner, combiner.name) if axes else wide

    def rounded(x: PrimExpr) -> PrimExpr:
        return convert(x, result.dtype)

    return [reshaped(map_tensor(reduced, rounded, result.dtype), result.shape)]


@lowers("onnx.ReduceLogSumExp")
def _log_sum_exp(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    """Shifted by the maximum, so that the exponentials cannot overflow."""
    assert operands[0] is not None
    source, result = widen(operands[0]), operation.results[0]
    axes = _axes_of(operation, len(source.shape))
    if not axes:
        return [LogicalTensor(result.shape, result.dtype, operands[0].element)]
    largest = over_axes(context, source, axes, MAXIMUM, "maximum")
    shifted = map_pair(source, largest, lambda x, m: exp(x - m))
    total = over_axes(context, shifted, axes, SUM, "sum")
    combined = map_pair(total, largest, lambda s, m: as_dtype(log(s) + m, result.dtype))
    return [reshaped(LogicalTensor(combined.shape, result.dtype, combined.element), result.shape)]


def map_pair(
    tensor: LogicalTensor, other: LogicalTensor, function: Callable[[PrimExpr, PrimExpr], PrimExpr]
) -> LogicalTensor:
    """Apply a function to the elements of a tensor and of another that is broadcast to its shape."""
    from optc.backends.tvm.lowering.elementwise import broadcast

    spread = broadcast(other, tensor.shape)
    return LogicalTensor(tensor.shape, tensor.dtype, lambda *i: function(bind(tensor(*i)), bind(spread(*i))))


def _arg_combiner(name: str, sign: int, last: bool) -> Combiner:
    """Keeps (value, index); of equal values the first index, or the last."""

    def combine(x: Elements, y: Elements) -> Elements:
        from tvm import tirx

        better = y[0] > x[0] if sign < 0 else y[0] < x[0]
        tie = y[1] > x[1] if last else y[1] < x[1]
        taken = tirx.Or(better, tirx.And(tirx.EQ(y[0], x[0]), tie))
        return tuple(tirx.Select(taken, new, old) for new, old in zip(y, x, strict=True))

    def identity(names: tuple[str, ...]) -> Elements:
        from tvm import tirx

        return (*_extreme(sign)(names[:1]), tirx.const(-1 if last else 2**31 - 1, names[1]))

    return Combiner(name, identity, combine)


def arg_extremum(
    context: LoweringContext, source: LogicalTensor, axis: int, *, largest: bool, last: bool
) -> LogicalTensor:
    """The index (int32) of the extreme element along an axis, which stays with extent 1."""
    combiner = _arg_combiner("position", -1 if largest else 1, last)
    shape = tuple(1 if i == axis else extent for i, extent in enumerate(source.shape))

    def body(indices: Sequence[Any], reduced: Sequence[Any]) -> Elements:
        from tvm import tirx

        place = (*indices[:axis], reduced[0], *indices[axis + 1 :])
        return source(*place), tirx.convert(reduced[0])

    return context.reduce(shape, (source.dtype, dtypes.INT32), (source.shape[axis],), body, combiner, "position")[1]


@lowers("onnx.ArgMax", "onnx.ArgMin")
def _arg_extremum(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    source, result = widen(operands[0]), operation.results[0]
    axis = int(operation.attributes.get("axis", 0)) % len(source.shape)  # type: ignore[arg-type]
    last = bool(operation.attributes.get("select_last_index", 0))
    found = arg_extremum(context, source, axis, largest=operation.name == "onnx.ArgMax", last=last)
    return [reshaped(map_tensor(found, lambda x: x.astype("int64"), result.dtype), result.shape)]
