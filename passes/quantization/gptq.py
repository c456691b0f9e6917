"""Rounding that passes each weight's error on to the weights that are not rounded yet.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2023): the columns
of a weight matrix are rounded one after the other, and the rest of each row moves to keep what the layer gives on its
data. Columns go in the order of falling activation, with the scales of their groups chosen before.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optc.passes.quantization.layers import Layer
from optc.passes.quantization.schemes import Scheme
from optc.passes.quantization.weights import QuantizedWeight, quantize_weight

DAMPING = 0.01
"""Of the mean of the diagonal, added to it: samples are few, and some columns never active."""

_BLOCK = 128
"""Columns whose errors reach the rest of the matrix at once."""


def accepts(layer: Layer) -> bool:
    """Whether a layer is one matrix product of its data: not so convolutions with groups."""
    return layer.weight.ndim == 2 or layer.operation.attributes.get("group", 1) == 1


def rounded(layer: Layer, scheme: Scheme, gram: np.ndarray, *, search: bool = True) -> QuantizedWeight:
    """The weights of a layer, rounded for the least squared error of its results.

    Args:
        layer: whose weights; one that `accepts` takes.
        scheme: their format and groups.
        gram: float64 [inputs, inputs], the sum of x·xᵀ over the vectors x that each result is a product of. Inputs of
            a convolution are in the order of its weights: channels, then the places of the kernel.
        search: of scales, as for `quantize_weight`.
    """
    start = quantize_weight(layer, scheme, search=search)
    weight = _rows(layer, layer.weight)
    spread = _rows(layer, np.broadcast_to(start.spread, layer.weight.shape))
    dead = np.diag(gram) == 0
    order = np.argsort(-np.diag(gram), kind="stable")
    damped = gram + np.diag(np.where(dead, 1.0, 0.0) + DAMPING * np.diag(gram).mean())
    # The upper Cholesky factor of the inverse holds what each column's error does to all later ones.
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T
    moved, numbers = weight[:, order].copy(), np.empty_like(weight)
    for first in range(0, len(order), _BLOCK):
        last = min(first + _BLOCK, len(order))
        errors = np.empty((len(weight), last - first))
        for place in range(first, last):
            scale = spread[:, order[place]]
            numbers[:, order[place]] = scheme.weights.round(moved[:, place] / scale)
            error = (moved[:, place] - numbers[:, order[place]] * scale) / factor[place, place]
            errors[:, place - first] = error
            moved[:, place + 1 : last] -= np.outer(error, factor[place, place + 1 : last])
        moved[:, last:] -= errors @ factor[first:last, last:]
    return replace(start, numbers=_like(layer, numbers))


def _rows(layer: Layer, array: np.ndarray) -> np.ndarray:
    """Weights with a row for each channel, float64."""
    return np.moveaxis(np.asarray(array, np.float64), layer.axis, 0).reshape(layer.channels, -1)


def _like(layer: Layer, rows: np.ndarray) -> np.ndarray:
    """Rows in the order of the layer's weights."""
    shape = layer.weight.shape
    others = [extent for axis, extent in enumerate(shape) if axis != layer.axis]
    return np.moveaxis(rows.reshape(layer.channels, *others), 0, layer.axis)
