"""Pooling: reductions over windows, with padding, dilation, ceil mode and automatic padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.lowering.binding import bind, choose
from optc.backends.tvm.lowering.context import Combiner, LoweringContext, Operands, lowers
from optc.backends.tvm.lowering.movement import all_of
from optc.backends.tvm.lowering.normalization import narrowed
from optc.backends.tvm.lowering.reductions import MAXIMUM, SUM, map_tensor, mean_over_axes, over_axes, widen
from optc.backends.tvm.math.functions import const_like, libm, sqrt
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


@dataclass(frozen=True)
class Window:
    """A pooling window over the spatial axes: extents, steps, spacing of taps, and padding at the front and back."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def place(self, outer: Sequence[Any], tap: Sequence[Any]) -> list[Any]:
        """Spatial indices, which may lie in the padding."""
        zipped = zip(outer, tap, self.strides, self.dilations, self.before, strict=True)
        return [o * s + t * d - b for o, t, s, d, b in zipped]

    def along(self, axis: int) -> Window:
        """The same window along one spatial axis, one element wide along the others."""

        def only(values: tuple[int, ...], other: int) -> tuple[int, ...]:
            return tuple(value if k == axis else other for k, value in enumerate(values))

        return Window(
            only(self.kernel, 1),
            only(self.strides, 1),
            only(self.dilations, 1),
            only(self.before, 0),
            only(self.after, 0),
        )


def window_of(operation: Operation, source: Sequence[int], result: Sequence[int]) -> Window:
    """The window of a pooling operation on spatial extents `source`, which makes `result`."""
    rank = len(source)

    def numbers(name: str, default: int, count: int = rank) -> tuple[int, ...]:
        value = operation.attributes.get(name)
        return tuple(int(v) for v in value) if value else (default,) * count  # type: ignore[union-attr, arg-type]

    kernel, strides, dilations = numbers("kernel_shape", 1), numbers("strides", 1), numbers("dilations", 1)
    mode = operation.attributes.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        spans = zip(source, result, kernel, strides, dilations, strict=True)
        totals = [max(0, (r - 1) * s + (k - 1) * d + 1 - n) for n, r, k, s, d in spans]
        less, more = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
        before, after = (less, more) if mode == "SAME_UPPER" else (more, less)
    else:
        pads = numbers("pads", 0, 2 * rank) if mode == "NOTSET" else (0,) * (2 * rank)
        before, after = pads[:rank], pads[rank:]
    return Window(kernel, strides, dilations, before, after)


def _pooled(
    context: LoweringContext,
    source: LogicalTensor,
    shape: Sequence[int],
    window: Window,
    combiner: Combiner,
    term: Callable[[PrimExpr], PrimExpr] | None,
    name: str,
) -> LogicalTensor:
    extents = source.shape[2:]

    def body(place: Sequence[Any], tap: Sequence[Any]) -> tuple[PrimExpr, ...]:
        spatial = window.place(place[2:], tap)
        conditions = []
        for index, extent, outer, k in zip(spatial, extents, shape[2:], range(len(extents)), strict=True):
            reach = (outer - 1) * window.strides[k] + (window.kernel[k] - 1) * window.dilations[k] - window.before[k]
            if window.before[k]:
                conditions.append(index >= 0)
            if reach >= extent:
                conditions.append(index < extent)

        def value() -> PrimExpr:
            x = source(place[0], place[1], *spatial)
            return x if term is None else term(bind(x))

        if not conditions:
            return (value(),)
        return (choose(all_of(conditions), value, lambda: combiner.identity((source.dtype.numpy_name,))[0]),)

    return context.reduce(shape, (source.dtype,), window.kernel, body, combiner, name)[0]


@lowers("onnx.MaxPool")
def _max_pool(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    source, result = widen(operands[0]), operation.results[0]
    window, shape = window_of(operation, source.shape[2:], result.shape[2:]), result.shape
    if _gains_by_lines(window, source.shape, shape):
        lines = (*shape[:2], source.shape[2], shape[3])
        source = _pooled(context, source, lines, window.along(1), MAXIMUM, None, "lines")
        window = window.along(0)
    return [narrowed(_pooled(context, source, shape, window, MAXIMUM, None, "largest"), result.dtype)]


def _gains_by_lines(window: Window, source: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether largest elements of lines, then of columns of these, take less than half the comparisons."""
    if len(window.kernel) != 2:
        return False
    rows, columns = window.kernel
    return 2 * (columns * source[2] + rows * shape[2]) < rows * columns * shape[2]


@lowers("onnx.AveragePool")
def _average_pool(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    source, result = widen(operands[0]), operation.results[0]
    window = window_of(operation, source.shape[2:], result.shape[2:])
    total = _pooled(context, source, result.shape, window, SUM, None, "total")
    padded = bool(operation.attributes.get("count_include_pad", 0))
    factors = [
        _inverse_counts(window, k, source.shape[2 + k], result.shape[2 + k], padded) for k in range(len(window.kernel))
    ]

    def element(*indices: Any) -> PrimExpr:
        value = total(*indices)
        for index, factor in zip(indices[2:], factors, strict=True):
            value = value * factor(index)
        return value

    return [narrowed(LogicalTensor(result.shape, source.dtype, element), result.dtype)]


def _inverse_counts(window: Window, k: int, extent: int, outer: int, padded: bool) -> Callable[[Any], PrimExpr]:
    """1 / the number of taps that count along an axis, as a function of the result's index."""
    stride, dilation, before = window.strides[k], window.dilations[k], window.before[k]
    low, high = (-before, extent + window.after[k]) if padded else (0, extent)
    taps = range(window.kernel[k])
    counts = [sum(low <= o * stride + t * dilation - before < high for t in taps) or 1 for o in range(outer)]

    def factor(index: Any) -> PrimExpr:
        from tvm import tirx

        common = max(set(counts), key=counts.count)
        value = tirx.const(1 / common, "float32")
        others = [o for o, count in enumerate(counts) if count != common]
        if len(others) > 8:
            number = tirx.const(0, "int32")
            for t in taps:
                place = tirx.convert(index * stride + t * dilation - before)
                inside = tirx.And(place >= low, place < high)
                number = number + tirx.Select(inside, tirx.const(1, "int32"), tirx.const(0, "int32"))
            return tirx.const(1.0, "float32") / bind(number.astype("float32"))
        for o in others:
            here = tirx.EQ(tirx.convert(index), tirx.const(o, "int32"))
            value = tirx.Select(here, tirx.const(1 / counts[o], "float32"), value)
        return value

    return factor


@lowers("onnx.LpPool")
def _lp_pool(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    source, result = widen(operands[0]), operation.results[0]
    window = window_of(operation, source.shape[2:], result.shape[2:])
    term, root = _power(int(operation.attributes.get("p", 2)))  # type: ignore[arg-type]
    total = _pooled(context, source, result.shape, window, SUM, term, "total")
    return [narrowed(map_tensor(total, root), result.dtype)]


def _power(p: int) -> tuple[Callable[[PrimExpr], PrimExpr], Callable[[PrimExpr], PrimExpr]]:
    """|x|^p and its inverse."""

    def term(x: PrimExpr) -> PrimExpr:
        from tvm import tirx

        if p in (1, 2):
            return tirx.abs(x) if p == 1 else x * x
        return libm("pow", tirx.abs(x), const_like(x, p))

    def root(x: PrimExpr) -> PrimExpr:
        if p in (1, 2):
            return x if p == 1 else sqrt(x)
        return libm("pow", x, const_like(x, 1 / p))

    return term, root


@lowers("onnx.GlobalAveragePool", "onnx.GlobalMaxPool", "onnx.GlobalLpPool")
def _global_pool(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    source, result = widen(operands[0]), operation.results[0]
    axes = range(2, len(source.shape))
    if operation.name == "onnx.GlobalAveragePool":
        return [narrowed(mean_over_axes(context, source, axes, "mean"), result.dtype)]
    if operation.name == "onnx.GlobalMaxPool":
        return [narrowed(over_axes(context, source, axes, MAXIMUM, "largest"), result.dtype)]
    term, root = _power(int(operation.attributes.get("p", 2)))  # type: ignore[arg-type]
    total = over_axes(context, map_tensor(source, term), axes, SUM, "total")
    return [narrowed(map_tensor(total, root), result.dtype)]
