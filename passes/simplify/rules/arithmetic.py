"""One form for arithmetic with constants, and for clamps."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.rewrite import Builder, Miss, on
from optc.passes.simplify.facts import same_type, scalar


@on("Sub")
def subtract_constant(op: Builder, operation: Operation) -> Value | None:
    """x - c → x + (-c), which is the same number for reals and for signed integers."""
    left, right = operation.operands
    array = None if right is None else right.constant
    if array is None or array.dtype.kind not in "if" or (left is not None and left.is_constant):
        return None
    return op.Add(left, -array)


@on("Div")
def divide_by_constant(op: Builder, operation: Operation) -> Value | Miss | None:
    """x / c → x · (1/c).

    Exact where c is a power of two. Else, in f32 and f64 only, it is off by at most one unit in the last place more
    than the division is; 1/c must be neither infinite nor subnormal.
    """
    left, right = operation.operands
    array = None if right is None else right.constant
    if array is None or array.dtype.kind not in "fV" or (left is not None and left.is_constant):
        return None
    with np.errstate(all="ignore"):
        inverse = (np.float64(1) / array.astype(np.float64)).astype(array.dtype)
        wide = inverse.astype(np.float64)
        if not np.isfinite(wide).all() or (np.abs(wide) < float(np.finfo(np.float32).tiny)).any():
            return Miss("the inverse of the divisor is no normal number")
        mantissa, _ = np.frexp(array.astype(np.float64))
    exact = bool((np.abs(mantissa) == 0.5).all())
    if not exact and array.dtype not in (np.float32, np.float64):
        return Miss(f"the inverse of the divisor is not exact in {array.dtype}")
    return op.Mul(left, inverse)


@on("Pow")
def power_by_constant(op: Builder, operation: Operation) -> Value | None:
    """x² → x · x, √x for x ^ 0.5, 1/x for x ^ -1 (reals only)."""
    base, exponent = operation.operands
    if base is None or not base.dtype.is_float or not same_type(base, operation.result):
        return None
    match scalar(exponent):
        case 2:
            return op.Mul(base, base)
        case 0.5:
            return op.Sqrt(base)
        case -1:
            return op.Reciprocal(base)
    return None


def bounds(operation: Operation) -> tuple[float, float] | None:
    """The constant bounds of a Relu or Clip; None where one is not known."""
    if operation.name == "onnx.Relu":
        return 0.0, np.inf
    found = []
    for position, absent in ((1, -np.inf), (2, np.inf)):
        value = operation.operand(position)
        bound = absent if value is None else scalar(value)
        if bound is None or np.isnan(bound):
            return None
        found.append(float(bound))
    # ONNX: where min exceeds max, every element becomes max.
    return min(found[0], found[1]), found[1]


def clamp(op: Builder, source: Value | None, low: float, high: float) -> Value:
    """The simplest operation that clamps to [low, high]."""
    assert source is not None
    if low == 0 and high == np.inf:
        return op.Relu(source)
    return op.Clip(source, None if low == -np.inf else low, None if high == np.inf else high)


@on("Clip")
def clip_as_relu(op: Builder, operation: Operation) -> Value | None:
    """Clip without bounds → its operand; Clip(x, 0) → Relu. Reals only: a bound at the end of the range is none."""
    source, limits = operation.operands[0], bounds(operation)
    if source is None or limits is None or not source.dtype.is_float:
        return None
    largest = float(np.finfo(np.float32).max) if source.dtype.name == "f32" else np.inf
    low, high = limits[0] if limits[0] > -largest else -np.inf, limits[1] if limits[1] < largest else np.inf
    if low == -np.inf and high == np.inf:
        return source
    return op.Relu(source) if low == 0 and high == np.inf else None


@on("Relu", "Clip")
def merge_clamps(op: Builder, operation: Operation) -> Value | Miss | None:
    """Clip∘Clip, Relu∘Clip, Clip∘Relu and Relu∘Relu with constant bounds."""
    inner = operation.operands[0].producer if operation.operands[0] is not None else None
    if inner is None or inner.name not in ("onnx.Relu", "onnx.Clip") or inner.operands[0] is None:
        return None
    if not inner.operands[0].dtype.is_float:
        return None
    first, second = bounds(inner), bounds(operation)
    if first is None or second is None:
        return Miss("a bound is known only at run time")
    low, high = (min(max(bound, second[0]), second[1]) for bound in first)
    return clamp(op, inner.operands[0], low, high)


RULES = (subtract_constant, divide_by_constant, power_by_constant, clip_as_relu, merge_clamps)
