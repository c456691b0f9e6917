"""Powers of two of numbers that are not positive: the exponentials of differences from a maximum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optc.backends.tvm.lowering.binding import bind
from optc.backends.tvm.math.f32 import _const, _int, _polynomial

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

LOG2_E = math.log2(math.e)
MAX_ULP = 2.5  # of results that are normal numbers

# (2^r - 1) / r on [-1/2, 1/2], so that 1 + r p(r) has the least relative error (Lawson's iteration).
_POWER = (0.6931470036506653, 0.24022242426872253, 0.05550733581185341, 0.009671512991189957, 0.001326472731307149)


def power_of_two(x: PrimExpr) -> PrimExpr:
    """2^x for x ≤ 0 in f32; zero for x below -126.5, where the result would be subnormal. NaN stays NaN.

    2^x = 2^n 2^(x - n) with n the nearest integer: no reduction in two steps as for e^x, since n is exact.
    """
    from tvm import tirx

    x = bind(x)
    x = bind(tirx.Select(x < _const(-127.0), _const(-127.0), x))
    # Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits of the sum; -127 + 127 makes a zero.
    shifted = bind(x + _const(12582912.0))
    rest = bind(x - (shifted - _const(12582912.0)))
    scale = tirx.reinterpret("float32", tirx.shift_left(tirx.reinterpret("int32", shifted) + _int(127), _int(23)))
    return (rest * _polynomial(rest, _POWER) + _const(1.0)) * scale
