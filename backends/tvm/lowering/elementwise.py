"""Element-wise operations: broadcasting, computation in a wide enough type, and the table of formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from optc.backends.tvm.lowering.binding import bind, dtype_of
from optc.backends.tvm.lowering.context import LoweringContext, Operands, lowers
from optc.backends.tvm.math.functions import (
    const_like,
    exp,
    is_infinite,
    is_nan,
    libm,
    log,
    maximum,
    minimum,
    sqrt,
)
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation
from optc.ir.dtypes import DType

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

Formula = Callable[..., "PrimExpr"]
_HALF = ("float16", "bfloat16")


def broadcast(tensor: LogicalTensor, shape: Sequence[int]) -> LogicalTensor:
    """Read a tensor under the indices of a larger shape, by NumPy's rule."""
    if tensor.shape == tuple(shape):
        return tensor
    skipped = len(shape) - len(tensor.shape)

    def element(*indices: PrimExpr | int) -> PrimExpr:
        return tensor(
            *(0 if extent == 1 else index for extent, index in zip(tensor.shape, indices[skipped:], strict=True))
        )

    return LogicalTensor(tuple(shape), tensor.dtype, element)


def widened(value: PrimExpr) -> PrimExpr:
    """Half-precision values are computed with in f32."""
    return value.astype("float32") if dtype_of(value) in _HALF else value


def rounded_to_bfloat16(value: PrimExpr) -> PrimExpr:
    """The nearest bfloat16 (ties to even), as the f32 that expressions use for it."""
    from tvm import tirx

    value = bind(value.astype("float32"))
    bits = bind(tirx.reinterpret("uint32", value))

    def const(number: int) -> PrimExpr:
        return tirx.const(number, "uint32")

    odd = tirx.bitwise_and(tirx.shift_right(bits, const(16)), const(1))
    nearest = tirx.bitwise_and(bits + const(0x7FFF) + odd, const(0xFFFF0000))
    return tirx.Select(is_nan(value), value, bind(tirx.reinterpret("float32", nearest)))


def as_dtype(value: PrimExpr, dtype: DType) -> PrimExpr:
    """Convert a computed value to the type of the result."""

    if dtype.name == "bf16":
        return value if dtype_of(value) == "bfloat16" else rounded_to_bfloat16(value)
    if dtype_of(value) == dtype.numpy_name:
        return value
    return value.astype(dtype.numpy_name)


def map_elements(formula: Formula, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    """Apply `formula(operation, *elements)` to broadcast operands; halves are widened and the result is rounded."""
    result = operation.results[0]
    shape, dtype = result.shape, result.dtype
    read = [None if operand is None else broadcast(operand, shape) for operand in operands]

    def element(*indices: PrimExpr | int) -> PrimExpr:
        values = [None if tensor is None else bind(widened(tensor(*indices))) for tensor in read]
        return as_dtype(formula(operation, *values), dtype)

    return [LogicalTensor(shape, dtype, element)]


def elementwise(*names: str) -> Callable[[Formula], Formula]:
    """Register `formula(operation, *elements) -> element` for operations."""

    def register(formula: Formula) -> Formula:
        lowers(*names)(lambda _, operation, operands: map_elements(formula, operation, operands))
        return formula

    return register


def _is_float(x: PrimExpr) -> bool:
    return dtype_of(x).startswith("float")


def _is_bool(x: PrimExpr) -> bool:
    return dtype_of(x) == "bool"


def _fold(step: Callable[[PrimExpr, PrimExpr], PrimExpr]) -> Formula:
    def formula(_: Operation, first: PrimExpr, *rest: PrimExpr) -> PrimExpr:
        for value in rest:
            first = step(first, value)
        return first

    return formula


def _keep_nan(pick: Callable[[PrimExpr, PrimExpr], PrimExpr]) -> Callable[[PrimExpr, PrimExpr], PrimExpr]:
    """Max and Min give NaN when either operand is NaN."""

    def step(x: PrimExpr, y: PrimExpr) -> PrimExpr:
        from tvm import tirx

        x, y = bind(x), bind(y)
        return tirx.Select(is_nan(y), y, pick(x, y)) if _is_float(x) else pick(x, y)

    return step


elementwise("onnx.Add")(lambda _, x, y: x + y)
elementwise("onnx.Sub")(lambda _, x, y: x - y)
elementwise("onnx.Mul")(lambda _, x, y: x * y)
elementwise("onnx.Sum")(_fold(lambda x, y: x + y))
elementwise("onnx.Max")(_fold(_keep_nan(maximum)))
elementwise("onnx.Min")(_fold(_keep_nan(minimum)))
elementwise("onnx.Identity", "optc.relayout")(lambda _, x: x)
elementwise("onnx.Neg")(lambda _, x: x * const_like(x, -1) if _is_float(x) else const_like(x, 0) - x)
elementwise("onnx.Reciprocal")(lambda _, x: const_like(x, 1) / x)
elementwise("onnx.Sqrt")(lambda _, x: sqrt(x))
elementwise("onnx.Exp")(lambda _, x: exp(x))
elementwise("onnx.Log")(lambda _, x: log(x))
elementwise("onnx.IsNaN")(lambda _, x: is_nan(x))


@elementwise("onnx.Mean")
def _mean(_: Operation, *values: PrimExpr) -> PrimExpr:
    return sum(values[1:], values[0]) / const_like(values[0], len(values))


def _without_traps(
    operation: Operation, x: PrimExpr, y: PrimExpr, divide: Callable[[PrimExpr, PrimExpr], PrimExpr], sign: int
) -> PrimExpr:
    """An integer quotient or remainder that never ends the process: by 0 it is 0, by -1 it is `sign * x`.

    Processors trap on a division by zero, and on that of the least number by -1; ONNX says nothing of either.
    """
    from tvm import tirx

    divisor = operation.operands[1]
    assert divisor is not None
    if divisor.constant is not None and not ((divisor.constant == 0) | (divisor.constant == -1)).any():
        return divide(x, y)
    x, y = bind(x), bind(y)
    zero, one = const_like(y, 0), const_like(y, 1)
    by_zero = tirx.EQ(y, zero)
    if dtype_of(y).startswith("uint"):
        safe = bind(tirx.Select(by_zero, one, y))
        return tirx.Select(by_zero, zero, divide(x, safe))
    minus = tirx.EQ(y, const_like(y, -1))
    safe = bind(tirx.Select(tirx.Or(by_zero, minus), one, y))
    negated = zero - x if sign else zero
    return tirx.Select(by_zero, zero, tirx.Select(minus, negated, divide(x, safe)))


@elementwise("onnx.Div")
def _div(operation: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return x / y if _is_float(x) else _without_traps(operation, x, y, tirx.truncdiv, -1)


@elementwise("onnx.Mod")
def _mod(operation: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    """The sign follows the divisor; with `fmod` it follows the dividend, as in C."""
    from tvm import tirx

    remainder = bind(libm("fmod", x, y) if _is_float(x) else _without_traps(operation, x, y, tirx.truncmod, 0))
    if operation.attributes.get("fmod", 0) or dtype_of(x).startswith("uint"):
        return remainder
    zero = const_like(x, 0)
    apart = tirx.Or(tirx.And(remainder < zero, y > zero), tirx.And(remainder > zero, y < zero))
    moved = bind(tirx.Select(apart, remainder + y, remainder))
    return tirx.Select(tirx.EQ(moved, zero), libm("copysign", zero, y), moved) if _is_float(x) else moved


@elementwise("onnx.Pow")
def _pow(operation: Operation, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    """Powers in the type of the base; small constant exponents become products or roots."""
    exponent = operation.operands[1]
    assert exponent is not None
    known = exponent.constant
    if known is not None and known.size == 1:
        value = float(known.reshape(-1)[0])
        if value in (1.0, 2.0, 3.0, 4.0):
            square = bind(x * x)
            return {1.0: x, 2.0: square, 3.0: square * x, 4.0: square * square}[value]
        if _is_float(x) and value == 0.5:
            return sqrt(x)
        if _is_float(x) and value == -1.0:
            return const_like(x, 1) / x
    computed = x if _is_float(x) else x.astype("float64")
    return libm("pow", computed, y.astype(dtype_of(computed))).astype(dtype_of(x))


@elementwise("onnx.Abs")
def _abs(_: Operation, x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    if _is_float(x):
        return tirx.abs(x)
    return x if dtype_of(x).startswith("uint") else tirx.Select(x < const_like(x, 0), const_like(x, 0) - x, x)


@elementwise("onnx.Sign")
def _sign(_: Operation, x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    one, zero = const_like(x, 1), const_like(x, 0)
    below = (
        zero
        if dtype_of(x).startswith("uint")
        else tirx.Select(x < zero, const_like(x, -1), x if _is_float(x) else zero)
    )
    return tirx.Select(x > zero, one, below)


def _rounding(name: str) -> Formula:
    def formula(_: Operation, x: PrimExpr) -> PrimExpr:
        from tvm import tirx

        return getattr(tirx, name)(x)

    return formula


elementwise("onnx.Floor")(_rounding("floor"))
elementwise("onnx.Ceil")(_rounding("ceil"))
elementwise("onnx.Round")(_rounding("nearbyint"))  # the default rounding mode: half to even


def _from_libm(name: str) -> Formula:
    return lambda _, x: libm(name, x)


for _name in ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"):
    elementwise(f"onnx.{_name}")(_from_libm(_name.lower()))


@elementwise("onnx.IsInf")
def _is_inf(operation: Operation, x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    positive = bool(operation.attributes.get("detect_positive", 1))
    negative = bool(operation.attributes.get("detect_negative", 1))
    if positive and negative:
        return is_infinite(x)
    if not positive and not negative:
        return tirx.const(False, "bool")
    return tirx.EQ(x, const_like(x, float("inf") if positive else float("-inf")))


@elementwise("onnx.Clip")
def _clip(operation: Operation, x: PrimExpr, low: PrimExpr | None = None, high: PrimExpr | None = None) -> PrimExpr:
    """Bounds are optional; a NaN stays one. When the bounds cross, the upper one wins."""
    x = x if low is None else maximum(x, low)
    return x if high is None else minimum(x, high)


@elementwise("onnx.Where")
def _where(_: Operation, condition: PrimExpr, x: PrimExpr, y: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.Select(condition, x, y)


def _comparison(compare: Callable[[PrimExpr, PrimExpr], PrimExpr]) -> Formula:
    return lambda _, x, y: compare(x, y)


def _equal(x: PrimExpr, y: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.EQ(x, y)


elementwise("onnx.Equal")(_comparison(_equal))
elementwise("onnx.Less")(_comparison(lambda x, y: x < y))
elementwise("onnx.LessOrEqual")(_comparison(lambda x, y: x <= y))
elementwise("onnx.Greater")(_comparison(lambda x, y: x > y))
elementwise("onnx.GreaterOrEqual")(_comparison(lambda x, y: x >= y))


@lowers("onnx.Cast", "onnx.CastLike")
def _cast(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    """As C converts; a float goes to a narrow integer through a wide one, so that the low bits are kept."""
    source = operands[0]
    assert source is not None
    result = operation.results[0]

    def element(*indices: PrimExpr | int) -> PrimExpr:
        return convert(widened(source(*indices)), result.dtype)

    return [LogicalTensor(result.shape, result.dtype, element)]


def convert(x: PrimExpr, dtype: DType) -> PrimExpr:
    """Numeric conversion between element types."""
    from tvm import tirx

    if dtype.name == "bool":
        return x if _is_bool(x) else tirx.NE(x, const_like(x, 0))
    if _is_float(x) and dtype.is_integer:
        x = x.astype("int32" if dtype.bits < 32 else "int64" if dtype.name == "u32" else dtype.numpy_name)
    if dtype_of(x) == "float64" and dtype.numpy_name in _HALF:
        x = bind(x.astype("float32"))
    return as_dtype(x, dtype)
