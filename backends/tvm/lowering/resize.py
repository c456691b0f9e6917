"""Resize: each axis is interpolated on its own, nearest, linear or cubic, at coordinates known at compile time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.backends.tvm.lowering.binding import bind
from optc.backends.tvm.lowering.context import LoweringContext, Operands, lowers
from optc.backends.tvm.lowering.movement import clamp_index, parameter
from optc.backends.tvm.lowering.normalization import narrowed
from optc.backends.tvm.lowering.reductions import widen
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

RELATIONS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")


@dataclass(frozen=True)
class Line:
    """One axis: extents, scale, and the affine map from the result's index to the source's coordinate."""

    source: int
    result: int
    slope: float
    offset: float

    def coordinate(self, index: int) -> float:
        return index * self.slope + self.offset


def line_of(operation: Operation, source: int, result: int, scale: float) -> Line:
    """The coordinates along an axis by the operation's transformation mode."""
    default = "asymmetric" if operation.name == "onnx.Upsample" else "half_pixel"
    mode = str(operation.attributes.get("coordinate_transformation_mode", default))
    if mode == "align_corners":
        return Line(source, result, (source - 1) / (result - 1) if result > 1 else 0.0, 0.0)
    if mode == "asymmetric":
        return Line(source, result, 1 / scale, 0.0)
    if mode == "pytorch_half_pixel" and result == 1:
        return Line(source, result, 0.0, 0.0)
    shift = 0.0
    if mode == "half_pixel_symmetric":
        adjustment = result / (scale * source)
        shift = source / 2 * (1 - adjustment)
    return Line(source, result, 1 / scale, 0.5 / scale - 0.5 + shift)


@lowers("onnx.Resize", "onnx.Upsample")
def _resize(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    tensor, result = widen(operands[0]), operation.results[0]
    scales = scales_of(operation, tensor.shape, result.shape)
    mode = str(operation.attributes.get("mode", "nearest"))
    last = len(result.shape) - 1
    interpolated = False
    for axis, extent in enumerate(result.shape):
        if scales[axis] != 1.0 or tensor.shape[axis] != extent:
            line = line_of(operation, tensor.shape[axis], extent, scales[axis])
            if interpolated and axis == last and extent > line.source and not result.tensor_type.layout.blocks:
                # Elements of the last axis are gathered, several for each result: let them be finished ones.
                tensor = context.materialize(tensor, "lines")
            tensor = _MODES[mode](operation, tensor, axis, line)
            interpolated = mode != "nearest"
    return [narrowed(tensor, result.dtype)]


def scales_of(operation: Operation, source: tuple[int, ...], result: tuple[int, ...]) -> list[float]:
    """The scale along every axis."""
    position = 1 if operation.name == "onnx.Upsample" else 2
    given = parameter(operation, position)
    axes = [int(a) % len(source) for a in operation.attributes.get("axes", range(len(source)))]  # type: ignore[union-attr, arg-type]
    scales = [1.0] * len(source)
    known = given is not None and given.size > 0
    for number, axis in enumerate(axes):
        scales[axis] = float(given.reshape(-1)[number]) if known else result[axis] / source[axis]  # type: ignore[union-attr]
    if not known and operation.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        sizes = parameter(operation, 3)
        assert sizes is not None
        ratios = [int(n) / source[axis] for n, axis in zip(sizes.reshape(-1), axes, strict=True)]
        policy = operation.attributes["keep_aspect_ratio_policy"]
        common = min(ratios) if policy == "not_larger" else max(ratios)
        for axis in axes:
            scales[axis] = common
    return scales


def _read(tensor: LogicalTensor, axis: int, place: tuple[Any, ...], index: Any) -> PrimExpr:
    return tensor(*place[:axis], index, *place[axis + 1 :])


def _resized(
    tensor: LogicalTensor, axis: int, line: Line, element: Callable[[tuple[Any, ...]], PrimExpr]
) -> LogicalTensor:
    shape = (*tensor.shape[:axis], line.result, *tensor.shape[axis + 1 :])
    return LogicalTensor(shape, tensor.dtype, lambda *place: element(place))


def _round_down_half(x: float) -> int:
    return math.ceil(x - 0.5)


_NEAREST: dict[str, Callable[[float], int]] = {
    "round_prefer_floor": _round_down_half,
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _nearest(operation: Operation, tensor: LogicalTensor, axis: int, line: Line) -> LogicalTensor:
    name = (
        "floor" if operation.name == "onnx.Upsample" else operation.attributes.get("nearest_mode", "round_prefer_floor")
    )
    pick = _NEAREST[str(name)]
    chosen = [min(max(pick(line.coordinate(i)), 0), line.source - 1) for i in range(line.result)]
    return _resized(tensor, axis, line, lambda place: _read(tensor, axis, place, table_index(place[axis], chosen)))


def table_index(index: Any, table: list[int]) -> Any:
    """`table[index]` as arithmetic: a quotient where one fits, else steps."""
    from tvm import tirx

    size = len(table)
    numerator = max(1, table[-1] - table[0] + 1)
    common = math.gcd(numerator, size)
    top, bottom = numerator // common, size // common
    for shift in range(-bottom, 2 * bottom):
        if all((i * top + shift) // bottom == chosen for i, chosen in enumerate(table)):
            return (index * top + shift) // bottom if shift >= 0 else tirx.floordiv(index * top + shift, bottom)
    place = tirx.convert(index)
    value = tirx.const(table[0], "int32")
    for i in range(1, size):
        if table[i] != table[i - 1]:
            step = tirx.const(table[i] - table[i - 1], "int32")
            value = value + tirx.Select(place >= i, step, tirx.const(0, "int32"))
    return bind(value)


def _position(index: Any, line: Line, dtype: str) -> tuple[PrimExpr, PrimExpr]:
    """The source coordinate's floor, as int32, and the fraction above it."""
    from tvm import tirx

    place = tirx.convert(index).astype(dtype)
    coordinate = bind(place * tirx.const(line.slope, dtype) + tirx.const(line.offset, dtype))
    below = bind(tirx.floor(coordinate))
    return bind(below.astype("int32")), bind(coordinate - below)


def _linear(operation: Operation, tensor: LogicalTensor, axis: int, line: Line) -> LogicalTensor:
    """Between the two neighbours; coordinates outside take the edge."""
    dtype = "float64" if tensor.dtype.name == "f64" else "float32"

    def element(place: tuple[Any, ...]) -> PrimExpr:
        from tvm import tirx

        below, fraction = _position(place[axis], line, dtype)
        left = bind(_read(tensor, axis, place, bind(clamp_index(below, line.source))).astype(dtype))
        right = bind(_read(tensor, axis, place, bind(clamp_index(below + 1, line.source))).astype(dtype))
        value = left * (tirx.const(1.0, dtype) - fraction) + right * fraction
        return value.astype(tensor.dtype.numpy_name if tensor.dtype.name != "bf16" else dtype)

    return _resized(tensor, axis, line, element)


def _cubic(operation: Operation, tensor: LogicalTensor, axis: int, line: Line) -> LogicalTensor:
    """Keys' cubic convolution over four neighbours; with `exclude_outside` those outside do not count."""
    dtype = "float64" if tensor.dtype.name == "f64" else "float32"
    a = float(operation.attributes.get("cubic_coeff_a", -0.75))  # type: ignore[arg-type]
    exclude = bool(operation.attributes.get("exclude_outside", 0))

    def element(place: tuple[Any, ...]) -> PrimExpr:
        from tvm import tirx

        def const(value: float) -> PrimExpr:
            return tirx.const(value, dtype)

        below, t = _position(place[axis], line, dtype)
        u = bind(const(1.0) - t)
        far_left, far_right = bind(t + const(1.0)), bind(u + const(1.0))

        def outer(d: PrimExpr) -> PrimExpr:
            return ((const(a) * d - const(5 * a)) * d + const(8 * a)) * d - const(4 * a)

        def inner(d: PrimExpr) -> PrimExpr:
            return (const(a + 2) * d - const(a + 3)) * d * d + const(1.0)

        weights = [bind(outer(far_left)), bind(inner(t)), bind(inner(u)), bind(outer(far_right))]
        if exclude:
            for k in range(4):
                index = below + (k - 1)
                inside = tirx.And(index >= 0, index < line.source)
                weights[k] = bind(tirx.Select(inside, weights[k], const(0.0)))
            total = bind(weights[0] + weights[1] + weights[2] + weights[3])
            weights = [bind(weight / total) for weight in weights]
        value = const(0.0)
        for k in range(4):
            index = bind(clamp_index(below + (k - 1), line.source))
            value = value + _read(tensor, axis, place, index).astype(dtype) * weights[k]
        return value

    return _resized(tensor, axis, line, element)


_MODES: dict[str, Callable[[Operation, LogicalTensor, int, Line], LogicalTensor]] = {
    "nearest": _nearest,
    "linear": _linear,
    "cubic": _cubic,
}


def refusal(operation: Operation) -> str | None:
    """Why a Resize has no native code; None when it has."""
    attributes = operation.attributes
    relation = attributes.get("coordinate_transformation_mode", "half_pixel")
    if relation not in RELATIONS:
        return f"the coordinate transformation is {relation}"
    if relation == "align_corners":
        source, result = operation.operands[0], operation.results[0]
        assert source is not None
        scales = scales_of(operation, source.shape, result.shape)
        if any(n * scale != m for n, m, scale in zip(source.shape, result.shape, scales, strict=True)):
            return "its corners are aligned to a fractional extent"
    if attributes.get("antialias", 0):
        return "it is antialiased"
    mode = attributes.get("mode", "nearest")
    if mode not in _MODES:
        return f"the mode is {mode}"
    dtype = operation.results[0].dtype
    if mode != "nearest" and not np.issubdtype(
        np.dtype(dtype.numpy_name if dtype.name != "bf16" else "float32"), np.floating
    ):
        return f"it interpolates elements of type {dtype}"
    return None
