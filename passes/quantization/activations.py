"""Activations in a format with one scale for a tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.passes.quantization.affine import SMALLEST_SCALE, parameters_for
from optc.passes.quantization.formats import Format, IntegerFormat


@dataclass(frozen=True)
class QuantizedActivation:
    """How a tensor is quantized.

    Attributes:
        format: of the codes.
        scale: what a code of one stands for.
        zero_point: the code of 0.0; 0 for floating-point formats.
    """

    format: Format
    scale: float
    zero_point: int = 0

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Values as they come back from quantization, float32."""
        codes = np.rint if isinstance(self.format, IntegerFormat) else self.format.round
        scaled = codes(np.asarray(values, np.float64) / self.scale) + self.zero_point
        if isinstance(self.format, IntegerFormat):
            scaled = np.clip(scaled, self.format.least, self.format.largest)
        return ((scaled - self.zero_point) * self.scale).astype(np.float32)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest value that is not clipped."""
        if isinstance(self.format, IntegerFormat):
            low, high = self.format.least - self.zero_point, self.format.largest - self.zero_point
            return low * self.scale, high * self.scale
        return -self.format.largest * self.scale, self.format.largest * self.scale


def activation_for(low: float, high: float, format: Format) -> QuantizedActivation:
    """The scale, and for integers the zero point, that cover a range."""
    if isinstance(format, IntegerFormat):
        found = parameters_for(low, high, format, symmetric=format.signed)
        return QuantizedActivation(format, float(found.scale), int(found.zero_point))
    scale = max(abs(low), abs(high)) / format.largest
    return QuantizedActivation(format, float(np.float32(max(scale, SMALLEST_SCALE))))
