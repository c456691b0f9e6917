"""What errors of an activation count where layers alone read it: the energy of the weights that they meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optc.ir.core import Value
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.sites import PASSING, Sites


@dataclass(frozen=True)
class Importance:
    """How much the squared error in each channel of a value adds to the results of the layers that read it.

    Attributes:
        value: what the layers read: the numbers of the source, perhaps in another order.
        weights: for each channel of it, of mean 1, in a shape that broadcasts over the value.
    """

    value: Value
    weights: np.ndarray


def importances(sites: Sites, layers: Sequence[Layer]) -> dict[Value, Importance]:
    """By the source of the codes; none for those that something else than layers reads, or layers in several orders.

    Errors of elements are taken to be independent, so that those of a layer's result add up in power, each times the
    squares of the weights that it meets.
    """
    reads = {layer.operation: layer for layer in layers}
    readers: dict[Value, dict[Value, list[Layer]]] = {}
    mixed: set[Value] = set()
    for value, source in sites.sources.items():
        for operation in sites.readers[value]:
            layer = reads.get(operation)
            if layer is not None and layer.data is value:
                readers.setdefault(source, {}).setdefault(value, []).append(layer)
            elif operation.name not in PASSING:
                mixed.add(source)
    found = {}
    for source, by_value in readers.items():
        if source in mixed or len(by_value) > 1:
            continue
        ((value, own),) = by_value.items()
        energy = np.sum([_energy(layer) for layer in own], axis=0)
        if energy.sum() > 0.0:
            found[source] = Importance(value, _along(energy / energy.mean(), own[0], value))
    return found


def _energy(layer: Layer) -> np.ndarray:
    """The sum of the squared weights that each channel of a layer's data meets."""
    squares = np.square(layer.weight, dtype=np.float64)
    if layer.operation.name != "onnx.Conv":
        return squares.sum(axis=layer.axis)
    groups = int(layer.operation.attributes.get("group", 1))  # type: ignore[arg-type]
    inside = squares.reshape(groups, layer.channels // groups, squares.shape[1], -1)
    return inside.sum(axis=(1, 3)).reshape(-1)


def _along(numbers: np.ndarray, layer: Layer, value: Value) -> np.ndarray:
    rank = value.tensor_type.rank
    return numbers if layer.channel_axis == -1 or rank is None else numbers.reshape(-1, *(1,) * (rank - 2))
