"""Affine quantization: real values as integers with a scale and a zero point.

    code = clip(round(value / scale) + zero point),  value ≈ (code - zero point) * scale

as in Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(2018), section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.passes.quantization.formats import IntegerFormat
from optc.passes.quantization.rounding import rounding

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""What a constant zero is scaled by."""


@dataclass(frozen=True)
class AffineParameters:
    """How a tensor is quantized.

    Attributes:
        format: of the codes.
        scale: float32, of no dimension or one number for each channel.
        zero_point: int64 of the same shape; the code of 0.0.
        axis: of the channels; None for one scale.
    """

    format: IntegerFormat
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None = None

    def quantize(self, values: np.ndarray, mode: str = "nearest-even", *, seed: int = 0) -> np.ndarray:
        """The codes, int64; values beyond the range become its ends. NaN has no code: the values must hold none."""
        scaled = np.asarray(values, np.float64) / self._along(self.scale, values.ndim)
        whole = rounding(mode)(scaled, np.random.default_rng(seed)) + self._along(self.zero_point, values.ndim)
        return np.clip(whole, self.format.least, self.format.largest).astype(np.int64)

    def dequantize(self, codes: np.ndarray) -> np.ndarray:
        """The float32 values that codes stand for."""
        offset = np.asarray(codes, np.int64) - self._along(self.zero_point, codes.ndim)
        return (offset * self._along(self.scale, codes.ndim)).astype(np.float32)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Values as they come back from quantization, float32."""
        return self.dequantize(self.quantize(values))

    def _along(self, numbers: np.ndarray, rank: int) -> np.ndarray:
        if self.axis is None:
            return numbers
        shape = [1] * rank
        shape[self.axis] = -1
        return numbers.reshape(shape)


def parameters_for(
    low: np.ndarray | float,
    high: np.ndarray | float,
    format: IntegerFormat,
    *,
    symmetric: bool,
    axis: int | None = None,
) -> AffineParameters:
    """The scale and zero point that cover a range; 0.0 always has a code of its own.

    Args:
        low: the least value, one number or one for each channel.
        high: the largest value, in the same shape.
        format: of the codes.
        symmetric: whether the zero point is the middle of the codes (0 for signed formats).
        axis: of the channels.
    """
    low = np.minimum(np.asarray(low, np.float64), 0.0)
    high = np.maximum(np.asarray(high, np.float64), 0.0)
    if symmetric:
        middle = 0 if format.signed else (int(format.largest) + 1) // 2
        reach = min(format.largest - middle, middle - format.least)
        # One bit has no code above zero; its two codes are zero and minus the largest magnitude.
        scale = np.maximum(-low, high) / max(1.0, reach)
        zero = np.full(np.shape(scale), middle, np.int64)
    else:
        scale = (high - low) / (format.largest - format.least)
        safe = np.where(scale > 0, scale, 1.0)
        zero = np.clip(np.rint(format.least - low / safe), format.least, format.largest).astype(np.int64)
    return AffineParameters(format, np.maximum(scale, SMALLEST_SCALE).astype(np.float32), zero, axis)
