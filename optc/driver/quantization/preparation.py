"""What is done to a float module before calibration: the same function, easier to quantize."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from optc.driver.quantization.data import Data
from optc.driver.quantization.running import Runner
from optc.ir.core import Module, Value
from optc.passes.base import PassContext
from optc.passes.quantization.equalization import equalize, pairs_of
from optc.passes.quantization.layers import layers_of
from optc.passes.quantization.smoothing import smooth, smoothed_values
from optc.passes.simplify.simplify import Simplify


def prepare(module: Module) -> None:
    """Simplify a module in place: constants folded, BatchNorm inside the convolutions."""
    Simplify().run(module, PassContext())


def equalize_module(module: Module, data: Data) -> int:
    """Scale the channels between layers for one range of the activations, in place; how many pairs of layers were."""
    layers = layers_of(module.main)
    axes = {pair.second.data: pair.second.channel_axis for pair in pairs_of(layers)}
    return len(equalize(module.main, layers, reaches(module, axes, data)))


def smooth_module(module: Module, data: Data, strength: float) -> int:
    """Move outliers of what matrix products read into their weights, in place; how many activations were changed."""
    layers = layers_of(module.main)
    found = reaches(module, dict.fromkeys(smoothed_values(layers), -1), data)
    return len(smooth(module.main, layers, found, strength=strength))


def reaches(module: Module, axes: Mapping[Value, int], data: Data) -> dict[Value, np.ndarray]:
    """The largest magnitude in each channel, by value.

    Args:
        module: to run.
        axes: of the channels of the values to watch.
        data: to run on.
    """
    found: dict[Value, np.ndarray] = {}
    if not axes:
        return found
    runner = Runner(module, list(axes))
    for feeds in data.batches():
        for value, axis in axes.items():
            (array,) = runner.run(feeds, [value])
            channels = axis % array.ndim
            largest = np.abs(array).max(axis=tuple(each for each in range(array.ndim) if each != channels))
            found[value] = np.maximum(found[value], largest) if value in found else largest
    return found
