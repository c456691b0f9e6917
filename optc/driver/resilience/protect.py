"""Models whose layers ignore results that they never gave before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.images import Preprocessing
from optc.driver.quantization.preparation import prepared, reaches
from optc.errors import ModelError
from optc.ir.core import Module
from optc.passes.quantization.layers import Layer, layers_of
from optc.passes.resilience.ranges import checked_layers, restrict_ranges

MARGIN = 0.1
"""How far beyond the greatest magnitude that was seen a result may lie, as a share of it."""


@dataclass(frozen=True)
class Protected:
    """A model with restricted ranges.

    Attributes:
        module: the model.
        layers: how many there are.
        checks: how many have a check; the results of the others meet one before they spread to other channels.
        samples: that the ranges rest on.
    """

    module: Module
    layers: int
    checks: int
    samples: int


def protect(
    model: Any,
    calib: Any,
    *,
    margin: float = MARGIN,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    limit: int | None = None,
    preprocessing: Preprocessing | None = None,
    progress: Progress = silent,
) -> Protected:
    """Restrict the range of each channel of each layer to what it computes on samples.

    Args:
        model: as for `load_model`, in float.
        calib: samples, as for `Data`.
        margin: by which a result may exceed the greatest magnitude that was seen, as a share of it.
        shapes, dims: as for `load_model`.
        limit: samples read at most.
        preprocessing: of images.
        progress: called with (what, done, total, detail).

    Raises:
        ModelError: no layer has constant weights.
        OptcError: a result on the samples is not finite.
    """
    module = prepared(model, "protect", shapes, dims)
    layers = layers_of(module.main)
    data = Data(calib, module.main.inputs, limit=limit, preprocessing=preprocessing)
    checked = checked_layers(layers)
    restrict_ranges(module, _bounds(module, checked, data, margin, progress))
    return Protected(module, len(layers), len(checked), data.samples)


def _bounds(
    module: Module, layers: Sequence[Layer], data: Data, margin: float, progress: Progress
) -> dict[Layer, np.ndarray]:
    axes = {layer.operation.result: layer.channel_axis for layer in layers}
    largest = reaches(module, axes, data, progress)
    for layer in layers:
        if not np.isfinite(largest[layer.operation.result]).all():
            hint = "check that the samples are preprocessed as in training"
            raise ModelError("a layer's result is not finite", where=layer.name, hint=hint)
    return {layer: ((1 + margin) * largest[layer.operation.result]).astype(np.float32) for layer in layers}
