"""Second moments of what layers read, over calibration data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.running import Runner
from optc.ir.core import Module, Value
from optc.passes.quantization.gptq import accepts
from optc.passes.quantization.layers import Layer

LARGEST_INPUTS = 8192
"""Inputs of one result; the matrix of more than that takes over half a gigabyte."""


def grams(module: Module, layers: Sequence[Layer], data: Data, *, progress: Progress = silent) -> dict[str, np.ndarray]:
    """The sum of x·xᵀ, in float64, by layer's name, over the vectors x that the layer multiplies with its weights.

    Layers whose weights no single such vector meets (convolutions with groups, or padded by a rule), and those with
    more than LARGEST_INPUTS inputs, are left out.
    """
    chosen = [layer for layer in layers if _has_gram(layer)]
    found: dict[tuple[Value, Any], np.ndarray] = {}
    watched = list(dict.fromkeys(layer.data for layer in chosen))
    if not watched:
        return {}
    runner = Runner(module, watched)
    done = 0
    for feeds in data.batches():
        for value in watched:
            (array,) = runner.run(feeds, [value])
            for key, layer in {_key(layer): layer for layer in chosen if layer.data is value}.items():
                rows = vectors(layer, array)
                found[key] = found.get(key, 0.0) + rows.T @ rows
        done += len(next(iter(feeds.values())))
        progress("second moments", done, data.samples)
    return {layer.name: found[_key(layer)].astype(np.float64) for layer in chosen}


def _has_gram(layer: Layer) -> bool:
    padded = layer.operation.attributes.get("auto_pad", "NOTSET")
    return accepts(layer) and padded == "NOTSET" and layer.weight.size // layer.channels <= LARGEST_INPUTS


def _key(layer: Layer) -> tuple[Value, Any]:
    """What two layers with the same vectors have in common."""
    if layer.operation.name != "onnx.Conv":
        return layer.data, None
    attributes = layer.operation.attributes
    return layer.data, (
        layer.weight.shape[2:],
        *(attributes.get(name) for name in ("strides", "pads", "dilations")),
    )


def vectors(layer: Layer, array: np.ndarray) -> np.ndarray:
    """The vectors that a layer without groups multiplies with its weights, a row each."""
    if layer.operation.name != "onnx.Conv":
        return array.reshape(-1, array.shape[-1])
    attributes, kernel = layer.operation.attributes, layer.weight.shape[2:]
    rank = len(kernel)
    pads: Any = attributes.get("pads", (0,) * (2 * rank))
    strides: Any = attributes.get("strides", (1,) * rank)
    dilations: Any = attributes.get("dilations", (1,) * rank)
    padded = np.pad(array, ((0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)))
    reach = [(extent - 1) * dilation + 1 for extent, dilation in zip(kernel, dilations, strict=True)]
    places = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + rank)))
    every = tuple(slice(None, None, stride) for stride in strides)
    inside = tuple(slice(None, None, dilation) for dilation in dilations)
    windows = places[(slice(None), slice(None), *every, *inside)]
    return np.moveaxis(windows, 1, 1 + rank).reshape(-1, int(np.prod(layer.weight.shape[1:])))
