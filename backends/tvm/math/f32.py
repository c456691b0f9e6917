"""Elementary functions of f32 as straight-line TIR expressions: no library call, so a loop over them vectorises.

The polynomials are minimax fits (Lawson's iteration on Chebyshev points) of the reduced functions named beside them.
MAX_ULP states the largest error against the exact function in units of the last place, as the tests measure it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optc.backends.tvm.lowering.binding import bind

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

MAX_ULP = {"exp": 1.5, "log": 1.5, "tanh": 6.0, "erf": 6.0, "sigmoid": 5.0, "silu": 6.0}
MAX_GELU_ERROR = 2.0**-22  # relative to the argument: where GELU tends to zero it is a difference of two halves

_EXP = (0.499999934484921, 0.16666520643269184, 0.04166838792970409, 0.008368715412087594, 0.0013814599871319287)
_LOG = (
    0.33333312602801485, -0.25000009603666057, 0.20002118732290747, -0.1666799566654284, 0.1421955090615918,
    -0.12405591425193165, 0.11888174620590107, -0.11675641265376704, 0.0674660123463339,
)  # fmt: skip
_TANH = (
    (
        1.0,
        0.13679915050471786,
        0.003868327741104897,
        2.8007459703583686e-05,
        3.058502713284623e-08,
        -1.2203471186922403e-11,
    ),
    (1.0, 0.4701324711088204, 0.02724583874081969, 0.0003938631142303213, 1.2873666964268483e-06),
)
_ERF = (
    (1.128379145354173, 0.19078434199272798, 0.05279035403419723, 0.003779630663833758, 0.00028480898201588566,
     2.0419658191728492e-06),
    (1.0, 0.5024109403602058, 0.11425773374059112, 0.014997481214225141, 0.0011652176747998647, 3.8004042673357026e-05),
)  # fmt: skip
_COTH = (2.0000000132693145, 0.16666580106649725, -0.0027636432820315983)
_PHI = (
    (0.3989422453648016, 0.03337227316128473, 0.00465085427739308, 0.00016432219549473295, 6.360027592025982e-06,
     2.3386729753567526e-08),
    (1.0, 0.2503179724166402, 0.028378713881963856, 0.0018589843146485567, 7.240036708381194e-05,
     1.2165914010791838e-06),
)  # fmt: skip


def _const(value: float) -> PrimExpr:
    from tvm import tirx

    return tirx.const(value, "float32")


def _int(value: int) -> PrimExpr:
    from tvm import tirx

    return tirx.const(value, "int32")


def _polynomial(x: PrimExpr, coefficients: Sequence[float]) -> PrimExpr:
    """Horner's rule, lowest coefficient first."""
    result = _const(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + _const(coefficient)
    return result


def clamp(x: PrimExpr, low: float, high: float) -> PrimExpr:
    """Limit to [low, high]; NaN stays NaN."""
    return _raised_and_limited(x, low, high)[1]


def _raised_and_limited(x: PrimExpr, low: float, high: float) -> tuple[PrimExpr, PrimExpr]:
    """x limited from below only, and from both sides; NaN stays NaN."""
    from tvm import tirx

    x = bind(x)
    raised = bind(tirx.Select(x < _const(low), _const(low), x))
    return raised, bind(tirx.Select(raised > _const(high), _const(high), raised))


def exp(x: PrimExpr) -> PrimExpr:
    """e^x = 2^n e^r with r = x - n ln 2 (Cody and Waite); gradual underflow, overflow to infinity."""
    from tvm import tirx

    x = clamp(bind(x), -104.0, 89.0)
    # Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits of the sum.
    shifted = bind(x * _const(1.4426950408889634) + _const(12582912.0))
    n = bind(shifted - _const(12582912.0))
    r = bind(x - n * _const(0.693145751953125) - n * _const(1.4286068203094173e-06))
    p = r * r * _polynomial(r, _EXP) + r + _const(1.0)
    exponent = bind(tirx.reinterpret("int32", shifted) - _int(0x4B400000))
    half = bind(tirx.shift_right(exponent, _int(1)))
    return p * _power_of_two(half) * _power_of_two(exponent - half)


def _power_of_two(n: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.reinterpret("float32", tirx.shift_left(n + _int(127), _int(23)))


def log(x: PrimExpr) -> PrimExpr:
    """log x = e ln 2 + log(1 + f) with 1 + f in [sqrt 1/2, sqrt 2); subnormal arguments are scaled first."""
    from tvm import tirx

    x = bind(x)
    tiny = x < _const(1.17549435e-38)
    scaled = bind(tirx.Select(tiny, x * _const(8388608.0), x))
    bits = bind(tirx.reinterpret("int32", scaled) - _int(0x3F3504F3))
    exponent = tirx.shift_right(bits, _int(23))
    mantissa = tirx.reinterpret("float32", tirx.bitwise_and(bits, _int(0x007FFFFF)) + _int(0x3F3504F3))
    f = bind(mantissa - _const(1.0))
    e = bind(exponent.astype("float32") - tirx.Select(tiny, _const(23.0), _const(0.0)))
    square = bind(f * f)
    tail = square * f * _polynomial(f, _LOG) - square * _const(0.5) + e * _const(-2.12194440e-4)
    result = bind(f + tail + e * _const(0.693359375))
    infinite = tirx.Select(x < _const(float("inf")), result, x)  # infinity and NaN map to themselves
    negative = tirx.Select(x < _const(0.0), _const(float("nan")), bind(infinite))
    return tirx.Select(tirx.EQ(x, _const(0.0)), _const(float("-inf")), bind(negative))


def _odd_rational(x: PrimExpr, limit: float, fit: tuple[Sequence[float], Sequence[float]]) -> PrimExpr:
    x = clamp(bind(x), -limit, limit)
    square = bind(x * x)
    numerator, denominator = fit
    return x * _polynomial(square, numerator) / _polynomial(square, denominator)


def tanh(x: PrimExpr) -> PrimExpr:
    """An odd rational function of degree 11/8 on [-9.02, 9.02], beyond which tanh rounds to ±1."""
    return clamp(bind(_odd_rational(x, 9.02, _TANH)), -1.0, 1.0)


def erf(x: PrimExpr) -> PrimExpr:
    """An odd rational function of degree 11/10 on [-3.93, 3.93], beyond which erf rounds to ±1."""
    return clamp(bind(_odd_rational(x, 3.93, _ERF)), -1.0, 1.0)


def _exp_of_negative(x: PrimExpr) -> tuple[PrimExpr, PrimExpr]:
    """e^-x as (numerator, denominator) for x in [-87, 87], so that a quotient around it shares the division.

    e^-x = 2^n (q - r) / (q + r) with r = x + n ln 2 and q = r coth(r / 2). Without a fused multiply-add r loses
    |x| / 2 ULP.
    """
    from tvm import tirx

    shifted = bind(x * _const(-1.4426950408889634) + _const(12582912.0))
    n = bind(shifted - _const(12582912.0))
    r = bind(x + n * _const(0.6931471805599453))
    q = bind(_polynomial(bind(r * r), _COTH))
    power = tirx.shift_left(tirx.reinterpret("int32", shifted), _int(23))
    return tirx.reinterpret("float32", tirx.reinterpret("int32", q - r) + power), bind(q + r)


def sigmoid(x: PrimExpr) -> PrimExpr:
    """1 / (1 + e^-x); below -87 the result stays at e^-87."""
    numerator, denominator = _exp_of_negative(clamp(x, -87.0, 87.0))
    return denominator / (denominator + numerator)


def silu(x: PrimExpr) -> PrimExpr:
    """x / (1 + e^-x); below -87 the result stays at -87 e^-87."""
    raised, limited = _raised_and_limited(x, -87.0, 87.0)
    numerator, denominator = _exp_of_negative(limited)
    return raised * (denominator / (denominator + numerator))


def gelu(x: PrimExpr) -> PrimExpr:
    """x Phi(x), where Phi(x) - 1/2 is an odd rational function of degree 11/10; below -5.4 the result stays there."""
    raised, limited = _raised_and_limited(x, -5.4, 5.4)
    square = bind(limited * limited)
    return raised * (limited * _polynomial(square, _PHI[0]) / _polynomial(square, _PHI[1]) + _const(0.5))
