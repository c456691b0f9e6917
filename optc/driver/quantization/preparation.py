"""What is done to a float module before calibration: the same function, easier to quantize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.running import Runner
from optc.errors import ModelError
from optc.frontends import load_model
from optc.ir.core import Module, Value
from optc.passes.base import PassContext
from optc.passes.quantization.equalization import equalize, pairs_of
from optc.passes.quantization.layers import layers_of
from optc.passes.quantization.smoothing import divisors, smooth, smoothed_values, strength_of
from optc.passes.simplify.simplify import Simplify

ROWS = 512
"""Vectors of an activation that the strength of its smoothing is chosen on."""


def prepare(module: Module) -> None:
    """Simplify a module in place: constants folded, BatchNorm inside the convolutions."""
    Simplify().run(module, PassContext())


def prepared(
    model: Any,
    purpose: str,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    example_inputs: Any = None,
) -> Module:
    """A model of the user's, prepared; arguments as for `load_model`.

    Args:
        purpose: a verb, for the message.

    Raises:
        ModelError: it has no layer with constant weights.
    """
    module = load_model(model, shapes, dims, example_inputs).module
    prepare(module)
    if not layers_of(module.main):
        raise ModelError(
            f"the model has nothing to {purpose}",
            where=module.name,
            why="no Conv, Gemm or MatMul has constant float32 weights",
        )
    return module


def equalize_module(module: Module, data: Data) -> int:
    """Scale the channels between layers for one range of the activations, in place; how many pairs of layers were."""
    layers = layers_of(module.main)
    axes = {pair.second.data: pair.second.channel_axis for pair in pairs_of(layers)}
    return len(equalize(module.main, layers, reaches(module, axes, data)))


def smooth_module(module: Module, data: Data) -> int:
    """Move outliers of what matrix products read into their weights, in place, each as strongly as serves the products
    best in int8 on some of the data; how many activations were changed."""
    layers = layers_of(module.main)
    values = smoothed_values(layers)
    found = reaches(module, dict.fromkeys(values, -1), data)
    factors = {}
    for value, rows in _rows(module, list(values), data).items():
        strength = strength_of(rows, found[value], values[value])
        if strength:
            factors[value] = divisors(found[value], strength)
    smooth(module.main, layers, factors)
    return len(factors)


def _rows(module: Module, values: Sequence[Value], data: Data) -> dict[Value, np.ndarray]:
    """Some vectors along the last axis of each value, from all batches alike."""
    if not values:
        return {}
    random, runner = np.random.default_rng(0), Runner(module, values)
    kept: dict[Value, list[np.ndarray]] = {value: [] for value in values}
    each = max(1, ROWS * data.batch // data.samples)
    for feeds in data.batches():
        for value, array in runner.each(feeds):
            rows = array.reshape(-1, array.shape[-1])
            kept[value].append(rows[random.permutation(len(rows))[:each]])
    return {value: np.concatenate(parts) for value, parts in kept.items()}


def reaches(
    module: Module, axes: Mapping[Value, int], data: Data, progress: Progress = silent
) -> dict[Value, np.ndarray]:
    """The largest magnitude in each channel, by value; NaN where one was seen.

    Args:
        module: to run.
        axes: of the channels of the values to watch.
        data: to run on.
        progress: called with ("calibrating", samples done, samples in all).
    """
    found: dict[Value, np.ndarray] = {}
    if not axes:
        return found
    runner, done = Runner(module, list(axes)), 0
    for feeds in data.batches():
        for value, array in runner.each(feeds):
            channels = axes[value] % array.ndim
            largest = np.abs(array).max(axis=tuple(each for each in range(array.ndim) if each != channels))
            found[value] = np.maximum(found[value], largest) if value in found else largest
        done += len(next(iter(feeds.values())))
        progress("calibrating", done, data.samples)
    return found
