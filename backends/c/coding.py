"""Fixed-point arithmetic in place of float scales, with a bound of its error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LARGEST = 2**31 - 1
MOST_ERROR = 1 / 16
"""Codes by which the fixed-point product may differ from the exact one before both are rounded."""

MOST_SHIFT = 21
"""With more, a zero point in units of the product before its shift might not fit beside it."""


@dataclass(frozen=True)
class Coding:
    """real = (code - zero) * scale, with one scale for the tensor and int8 codes."""

    scale: float
    zero: int

    def code(self, real: float) -> int:
        """The code of a real, clamped; halves go to even numbers as in QuantizeLinear."""
        if math.isinf(real):
            return 127 if real > 0 else -128
        return int(np.clip(np.rint(np.float32(real) / np.float32(self.scale)) + self.zero, -128, 127))


@dataclass(frozen=True)
class FixedPoint:
    """Scales as integers: `round(sum * 2^left * multiplier / 2^(32 + shift))`.

    Attributes:
        multipliers: int32, one for each scale.
        left: of the sum.
        shift: from 1 to `MOST_SHIFT`.
        error: by how much the product may differ from that with the exact scale, in units of the result.
    """

    multipliers: np.ndarray
    left: int
    shift: int
    error: float


def fixed_point(scales: np.ndarray, largest_sum: np.ndarray) -> FixedPoint | str:
    """Multipliers for positive scales.

    Args:
        scales: float64.
        largest_sum: the largest magnitude of the sum that each scale is applied to.

    Returns:
        the multipliers, or why there are none.
    """
    if not np.all(np.isfinite(scales)) or np.any(scales <= 0):
        return "a scale is not positive"
    # The largest multiplier is just below 2^31.
    _, exponent = math.frexp(float(scales.max()))
    shift = min(-1 - exponent, MOST_SHIFT)
    left = max(0, 1 - shift)
    shift = max(shift, 1)
    if np.any(largest_sum * 2.0**left >= LARGEST):
        return "its sums may exceed 32 bits"
    exact = scales * 2.0 ** (32 + shift - left)
    multipliers = np.rint(exact)
    if multipliers.max() > LARGEST:
        multipliers = np.minimum(multipliers, LARGEST)
    error = np.abs(multipliers - exact) * largest_sum / 2.0 ** (32 + shift - left)
    # What lies beyond the codes is clamped, so that only sums of up to 512 codes matter.
    error = np.minimum(error, np.abs(multipliers / exact - 1) * 512)
    if error.max() > MOST_ERROR:
        return f"its scales are up to {scales.max() / scales.min():.0e} apart"
    return FixedPoint(multipliers.astype(np.int32), left, shift, float(error.max()))


def scaled(sums: np.ndarray, fixed: FixedPoint) -> np.ndarray:
    """What the C code makes of sums whose last axis has one multiplier each: the definition that tests hold it to."""
    product = (sums.astype(np.int64) << fixed.left) * fixed.multipliers.astype(np.int64)
    return ((product >> 32) + (1 << (fixed.shift - 1))) >> fixed.shift
