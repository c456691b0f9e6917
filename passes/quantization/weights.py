"""Weights in a format with scales: one for each output channel, or for each group of a channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.passes.quantization.affine import SMALLEST_SCALE
from optc.passes.quantization.formats import Format
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.schemes import Scheme

SHRINKAGES = np.linspace(1.0, 0.3, 36)
"""Of the range, tried for the least squared error."""


@dataclass(frozen=True)
class QuantizedWeight:
    """Weights as numbers of a format, times scales.

    Attributes:
        format: of the numbers.
        numbers: float64 of the weights' shape, each a number of the format.
        scale: float32. Without a group: one for each channel. With one: the weights' shape with the grouped axis
            divided, rounded up.
        axis: of the channels.
        reduced: the axis that groups divide.
        group: its length; None without groups.
    """

    format: Format
    numbers: np.ndarray
    scale: np.ndarray
    axis: int
    reduced: int
    group: int | None = None

    @property
    def spread(self) -> np.ndarray:
        """The scales, to be broadcast over the weights, float64."""
        return spread(self.scale, self.numbers.shape, self.axis, self.reduced, self.group)

    @property
    def values(self) -> np.ndarray:
        """The weights that they stand for, float32."""
        return (self.numbers * self.spread).astype(np.float32)


def spread(scale: np.ndarray, shape: tuple[int, ...], axis: int, reduced: int, group: int | None) -> np.ndarray:
    """Scales in a shape that broadcasts over weights of `shape`."""
    scale = np.asarray(scale, np.float64)
    if group is not None:
        return np.repeat(scale, group, axis=reduced)[tuple(slice(extent) for extent in shape)]
    wide = [1] * len(shape)
    wide[axis] = -1
    return scale.reshape(wide)


def quantize_weight(layer: Layer, scheme: Scheme, *, search: bool = True) -> QuantizedWeight:
    """The weights of a layer, each rounded to the nearest number.

    Args:
        layer: whose weights; groups divide those of rank two only.
        scheme: their format and groups.
        search: whether each scale may leave the largest weights outside where that lessens the squared error.
    """
    weight = np.asarray(layer.weight, np.float64)
    group = scheme.group if scheme.group and weight.ndim == 2 else None
    largest = float(scheme.weights.largest)

    def gathered(values: np.ndarray, reduce: np.ufunc) -> np.ndarray:
        if group is not None:
            return reduce.reduceat(values, np.arange(0, values.shape[layer.reduced], group), axis=layer.reduced)
        return reduce.reduce(values, axis=tuple(each for each in range(values.ndim) if each != layer.axis))

    full = np.maximum(gathered(np.abs(weight), np.maximum) / largest, SMALLEST_SCALE)
    best, least = full, np.full(full.shape, np.inf)
    for share in SHRINKAGES if search else SHRINKAGES[:1]:
        wide = spread(full * share, weight.shape, layer.axis, layer.reduced, group)
        error = gathered((scheme.weights.round(weight / wide) * wide - weight) ** 2, np.add)
        best, least = np.where(error < least, full * share, best), np.minimum(error, least)
    scale = np.maximum(best, SMALLEST_SCALE).astype(np.float32)
    numbers = scheme.weights.round(weight / spread(scale, weight.shape, layer.axis, layer.reduced, group))
    return QuantizedWeight(scheme.weights, numbers, scale, layer.axis, layer.reduced, group)
