"""Softmax and normalisations: reductions whose results are mapped back over the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.lowering.binding import bind
from optc.backends.tvm.lowering.context import LoweringContext, Operands, lowers
from optc.backends.tvm.lowering.elementwise import as_dtype, broadcast
from optc.backends.tvm.lowering.movement import reshaped
from optc.backends.tvm.lowering.reductions import (
    MAXIMUM,
    SUM,
    map_pair,
    map_tensor,
    mean_over_axes,
    over_axes,
    widen,
)
from optc.backends.tvm.math.functions import const_like, exp, log, sqrt
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation
from optc.ir.dtypes import DType

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


def narrowed(tensor: LogicalTensor, dtype: DType) -> LogicalTensor:
    """A computed tensor in the type of the result."""
    return map_tensor(tensor, lambda x: as_dtype(x, dtype), dtype)


def along(vector: LogicalTensor, axis: int, rank: int) -> LogicalTensor:
    """A vector as a tensor of `rank` axes that varies along one of them."""
    shape = tuple(vector.shape[0] if i == axis else 1 for i in range(rank))
    return LogicalTensor(shape, vector.dtype, lambda *indices: vector(indices[axis]))


def _number(operation: Operation, name: str, default: float) -> float:
    return float(operation.attributes.get(name, default))  # type: ignore[arg-type]


def _axis(operation: Operation, default: int, rank: int) -> int:
    return int(operation.attributes.get("axis", default)) % rank  # type: ignore[arg-type]


@lowers("onnx.Softmax", "onnx.LogSoftmax")
def _softmax(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    """Shifted by the maximum; each exponential is computed once and kept."""
    assert operands[0] is not None
    source, result = widen(operands[0]), operation.results[0]
    axes = [_axis(operation, -1, len(source.shape))]
    largest = over_axes(context, source, axes, MAXIMUM, "largest")
    if operation.name == "onnx.LogSoftmax":
        shifted = map_pair(source, largest, lambda x, m: x - m)
        total = over_axes(context, map_tensor(shifted, exp), axes, SUM, "total")
        logarithm = context.materialize(map_tensor(total, log), "logarithm")
        return [narrowed(map_pair(shifted, logarithm, lambda x, s: x - s), result.dtype)]
    powers = context.materialize(map_pair(source, largest, lambda x, m: exp(x - m)), "powers")
    total = over_axes(context, powers, axes, SUM, "total")
    scale = context.materialize(map_tensor(total, lambda s: const_like(s, 1) / s), "scale")
    return [narrowed(map_pair(powers, scale, lambda p, s: p * s), result.dtype)]


@lowers("onnx.Hardmax")
def _hardmax(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    from optc.backends.tvm.lowering.reductions import arg_extremum

    assert operands[0] is not None
    source = widen(operands[0])
    axis = _axis(operation, -1, len(source.shape))
    position = broadcast(arg_extremum(context, source, axis, largest=True, last=False), source.shape)
    result = operation.results[0]

    def element(*indices: Any) -> PrimExpr:
        from tvm import tirx

        return as_dtype(tirx.EQ(position(*indices), tirx.convert(indices[axis])), result.dtype)

    return [LogicalTensor(source.shape, result.dtype, element)]


def _standardized(
    context: LoweringContext, source: LogicalTensor, axes: Sequence[int], epsilon: float
) -> tuple[LogicalTensor, LogicalTensor, LogicalTensor]:
    """(source - mean) / sqrt(variance + epsilon) over axes, the mean and the inverse deviation."""
    mean = context.materialize(mean_over_axes(context, source, axes, "sum"), "mean")
    centered = map_pair(source, mean, lambda x, m: x - m)
    variance = mean_over_axes(context, map_tensor(centered, lambda x: x * x), axes, "squares")
    inverse = context.materialize(
        map_tensor(variance, lambda v: const_like(v, 1) / sqrt(v + const_like(v, epsilon))), "inverse"
    )
    return map_pair(centered, inverse, lambda x, i: x * i), mean, inverse


def _scaled(tensor: LogicalTensor, scale: LogicalTensor | None, bias: LogicalTensor | None) -> LogicalTensor:
    if scale is not None:
        tensor = map_pair(tensor, widen(scale), lambda x, s: x * s)
    return tensor if bias is None else map_pair(tensor, widen(bias), lambda x, b: x + b)


@lowers("onnx.LayerNormalization")
def _layer_norm(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source, scale, bias = (*operands, None, None)[:3]
    assert source is not None
    rank = len(source.shape)
    axes = list(range(_axis(operation, -1, rank), rank))
    normal, mean, inverse = _standardized(context, widen(source), axes, _number(operation, "epsilon", 1e-5))
    tensors = [_scaled(normal, scale, bias), mean, inverse]
    return [narrowed(t, r.dtype) for t, r in zip(tensors, operation.results, strict=False)]


@lowers("onnx.RMSNormalization", "onnx.SimplifiedLayerNormalization")
def _rms_norm(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    source = widen(operands[0])
    rank = len(source.shape)
    axes = list(range(_axis(operation, -1, rank), rank))
    epsilon = _number(operation, "epsilon", 1e-5)
    mean = mean_over_axes(context, map_tensor(source, lambda x: x * x), axes, "squares")
    inverse = context.materialize(
        map_tensor(mean, lambda m: const_like(m, 1) / sqrt(m + const_like(m, epsilon))), "inverse"
    )
    normal = map_pair(source, inverse, lambda x, i: x * i)
    return [narrowed(_scaled(normal, operands[1], None), operation.results[0].dtype)]


@lowers("onnx.InstanceNormalization")
def _instance_norm(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source, scale, bias = operands
    assert source is not None and scale is not None and bias is not None
    rank = len(source.shape)
    normal, _, _ = _standardized(context, widen(source), range(2, rank), _number(operation, "epsilon", 1e-5))
    scaled = _scaled(normal, along(scale, 1, rank), along(bias, 1, rank))
    return [narrowed(scaled, operation.results[0].dtype)]


@lowers("onnx.GroupNormalization")
def _group_norm(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source, scale, bias = operands
    assert source is not None and scale is not None and bias is not None
    rank, groups = len(source.shape), int(operation.attributes["num_groups"])  # type: ignore[arg-type]
    split = (source.shape[0], groups, source.shape[1] // groups, *source.shape[2:])
    axes = range(2, len(split))
    normal, _, _ = _standardized(context, reshaped(widen(source), split), axes, _number(operation, "epsilon", 1e-5))
    scaled = _scaled(reshaped(normal, source.shape), along(scale, 1, rank), along(bias, 1, rank))
    return [narrowed(scaled, operation.results[0].dtype)]


@lowers("onnx.BatchNormalization")
def _batch_norm(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source, scale, bias, mean, variance = operands[:5]
    assert source is not None and scale is not None and bias is not None and mean is not None and variance is not None
    epsilon = _number(operation, "epsilon", 1e-5)
    wide = widen(source)

    def element(*indices: Any) -> PrimExpr:
        channel = indices[1]
        deviation = widen(variance)(channel)
        inverse = bind(const_like(deviation, 1) / sqrt(deviation + const_like(deviation, epsilon)))
        factor = bind(widen(scale)(channel) * inverse)
        return (wide(*indices) - widen(mean)(channel)) * factor + widen(bias)(channel)

    return [narrowed(LogicalTensor(source.shape, wide.dtype, element), operation.results[0].dtype)]


@lowers("onnx.MeanVarianceNormalization")
def _mean_variance(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    source = widen(operands[0])
    axes = [int(a) % len(source.shape) for a in operation.attributes.get("axes", (0, 2, 3))]  # type: ignore[union-attr, arg-type]
    normal, _, _ = _standardized(context, source, axes, 1e-9)
    return [narrowed(normal, operation.results[0].dtype)]


@lowers("onnx.LpNormalization")
def _lp_norm(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    source = widen(operands[0])
    axes = [_axis(operation, -1, len(source.shape))]
    absolute = int(operation.attributes.get("p", 2)) == 1  # type: ignore[arg-type]

    def term(x: PrimExpr) -> PrimExpr:
        from tvm import tirx

        return tirx.abs(x) if absolute else x * x

    total = over_axes(context, map_tensor(source, term), axes, SUM, "norm")
    norm = total if absolute else map_tensor(total, sqrt)

    def divided(x: PrimExpr, n: PrimExpr) -> PrimExpr:
        from tvm import tirx

        return tirx.Select(tirx.EQ(n, const_like(n, 0)), const_like(x, 0), bind(x / n))

    return [narrowed(map_pair(source, norm, divided), operation.results[0].dtype)]


@lowers("onnx.LRN")
def _local_response(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    from optc.backends.tvm.lowering.movement import all_of, choose
    from optc.backends.tvm.math.functions import libm

    source = operands[0]
    assert source is not None
    wide = widen(source)
    size = int(operation.attributes["size"])  # type: ignore[arg-type]
    alpha, beta = _number(operation, "alpha", 1e-4), _number(operation, "beta", 0.75)
    bias, before, channels = _number(operation, "bias", 1.0), (size - 1) // 2, source.shape[1]

    def square(*indices: Any) -> PrimExpr:
        x = bind(wide(*indices))
        return x * x

    def body(place: Sequence[Any], reduced: Sequence[Any]) -> tuple[PrimExpr, ...]:
        channel = place[1] + reduced[0] - before
        inside = all_of([channel >= 0, channel < channels])
        return (choose(inside, lambda: square(place[0], channel, *place[2:]), lambda: zero),)

    from optc.backends.tvm.lowering.context import immediate

    zero = immediate(0, wide.dtype)
    (total,) = context.reduce(wide.shape, (wide.dtype,), (size,), body, SUM, "squares")

    def scaled(x: PrimExpr, s: PrimExpr) -> PrimExpr:
        base = bind(const_like(s, bias) + const_like(s, alpha / size) * s)
        if beta == 0.75:  # the default: x^0.75 without the library's power
            root = bind(sqrt(base))
            return x / (root * sqrt(root))
        return x / libm("pow", base, const_like(s, beta))

    return [narrowed(map_pair(wide, total, scaled), operation.results[0].dtype)]
