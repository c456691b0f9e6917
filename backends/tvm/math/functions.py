"""Elementary functions for any float type: the f32 polynomials, and libm through TVM for f64."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.backends.tvm.lowering.binding import bind, dtype_of
from optc.backends.tvm.math import f32

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


def const_like(x: PrimExpr, value: float | int) -> PrimExpr:
    """A constant of the type of `x`."""
    from tvm import tirx

    return tirx.const(value, dtype_of(x))


def _is_single(x: PrimExpr) -> bool:
    return dtype_of(x) == "float32"


def exp(x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return f32.exp(x) if _is_single(x) else tirx.exp(x)


def log(x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return f32.log(x) if _is_single(x) else tirx.log(x)


def tanh(x: PrimExpr) -> PrimExpr:
    return f32.tanh(x) if _is_single(x) else libm("tanh", x)


def erf(x: PrimExpr) -> PrimExpr:
    return f32.erf(x) if _is_single(x) else libm("erf", x)


def sigmoid(x: PrimExpr) -> PrimExpr:
    return f32.sigmoid(x) if _is_single(x) else const_like(x, 1) / (const_like(x, 1) + exp(const_like(x, 0) - x))


def silu(x: PrimExpr) -> PrimExpr:
    x = bind(x)
    return f32.silu(x) if _is_single(x) else x * sigmoid(x)


def gelu(x: PrimExpr) -> PrimExpr:
    x = bind(x)
    if _is_single(x):
        return f32.gelu(x)
    return const_like(x, 0.5) * x * (const_like(x, 1) + erf(x * const_like(x, 0.7071067811865476)))


def sqrt(x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.sqrt(x)


def libm(name: str, *arguments: PrimExpr) -> PrimExpr:
    """Call the C library's function: `sinf` for f32, `sin` for f64."""
    from tvm import tirx

    dtype = dtype_of(arguments[0])
    return tirx.call_pure_extern(dtype, name + ("f" if dtype == "float32" else ""), *arguments)


def softplus(x: PrimExpr) -> PrimExpr:
    """log(1 + e^x) as max(x, 0) + log(1 + e^-|x|), which cannot overflow."""
    from tvm import tirx

    x = bind(x)
    one = const_like(x, 1)
    return maximum(x, const_like(x, 0)) + log(one + exp(const_like(x, 0) - tirx.abs(x)))


def is_nan(x: PrimExpr) -> PrimExpr:
    """On the bits, since a comparison of a value with itself is simplified away."""
    from tvm import tirx

    integer, mask, infinity = _BITS[dtype_of(x)]
    return tirx.bitwise_and(tirx.reinterpret(integer, x), tirx.const(mask, integer)) > tirx.const(infinity, integer)


def is_infinite(x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.EQ(tirx.abs(x), const_like(x, float("inf")))


_BITS = {
    "float32": ("int32", 0x7FFFFFFF, 0x7F800000),
    "float64": ("int64", 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000),
}


def maximum(x: PrimExpr, y: PrimExpr) -> PrimExpr:
    """The larger value; when `y` is a number, a NaN in `x` is kept."""
    from tvm import tirx

    x, y = bind(x), bind(y)
    return tirx.Select(x < y, y, x)


def minimum(x: PrimExpr, y: PrimExpr) -> PrimExpr:
    """The smaller value; when `y` is a number, a NaN in `x` is kept."""
    from tvm import tirx

    x, y = bind(x), bind(y)
    return tirx.Select(x > y, y, x)
