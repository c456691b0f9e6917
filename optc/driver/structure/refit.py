"""Weights of what is left, fitted to what the whole model computes on data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.driver.quantization.data import Batch
from optc.driver.quantization.grams import vectors
from optc.driver.quantization.running import Runner
from optc.driver.structure.plan import Smaller
from optc.ir.clone import clone_module
from optc.ir.core import Module, Operation, Value
from optc.passes.quantization.layers import Layer, layers_of
from optc.passes.simplify.dce import erase_dead
from optc.passes.structure.factors import Moments
from optc.passes.structure.reconstruction import Fit, adjust

ROWS_AN_INPUT = 16
"""Results that a layer is fitted to, for each input of one."""

FEWEST_ROWS = 4096
LARGEST_INPUTS = 4608
"""Of one result: layers with more are left as they are (the time is cubic in it)."""

_CHUNK = 1 << 24
"""Numbers of what a convolution reads that are laid out at once."""


class Reference:
    """What the layers of a model compute on some data.

    Args:
        module: not changed.
        batches: of the data.
    """

    def __init__(self, module: Module, batches: Sequence[Batch]) -> None:
        self.module = module
        self.batches = list(batches)
        self._rows: dict[Value, list[tuple[np.ndarray, np.ndarray]]] = {}

    def rows(self, layer: Layer) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each batch: places among a layer's results, and the results there [places, channels]."""
        value = layer.operation.result
        if value not in self._rows:
            wanted = max(FEWEST_ROWS, ROWS_AN_INPUT * (layer.weight.size // layer.channels)) // len(self.batches)
            random = np.random.default_rng(0)
            runner, result = _runner(self.module, value)
            found = []
            for feeds in self.batches:
                (array,) = runner.run(feeds, [result])
                flat = np.moveaxis(array, layer.channel_axis, -1).reshape(-1, layer.channels)
                chosen = np.arange(len(flat))
                if len(flat) > wanted:
                    chosen = np.sort(random.choice(len(flat), max(1, wanted), replace=False))
                found.append((chosen, flat[chosen]))
            self._rows[value] = found
        return self._rows[value]

    def moments(self, layer: Layer) -> Moments:
        """Of a layer's results."""
        results = np.concatenate([rows for _, rows in self.rows(layer)]).astype(np.float64)
        mean = results.mean(axis=0) if layer.takes_bias else np.zeros(layer.channels)
        centred = results - mean
        return Moments(mean, centred.T @ centred / len(results))

    def inputs(self, layer: Layer) -> np.ndarray:
        """What a matrix product reads, a row for each sample."""
        runner, value = _runner(self.module, layer.data)
        return np.concatenate([runner.run(feeds, [value])[0] for feeds in self.batches])

    def powers(self, layers: Sequence[Layer]) -> dict[Value, np.ndarray]:
        """The variance of each channel of what layers read, by value."""
        axes = {layer.data: layer.channel_axis for layer in layers}
        runner = Runner(self.module, list(axes))
        sums: dict[Value, np.ndarray] = {}
        for feeds in self.batches:
            for value, axis in axes.items():
                (array,) = runner.run(feeds, [value])
                flat = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).astype(np.float64)
                part = np.stack([np.full(flat.shape[1], len(flat)), flat.sum(axis=0), np.square(flat).sum(axis=0)])
                sums[value] = sums[value] + part if value in sums else part
        return {value: np.maximum(each[2] / each[0] - (each[1] / each[0]) ** 2, 0.0) for value, each in sums.items()}


def refit(smaller: Smaller, reference: Reference, *, near: bool = False) -> None:
    """Fit the layers behind what was taken out, one after the other, in place.

    Args:
        smaller: the model.
        reference: the model before, on data.
        near: only the layers that read fewer channels, or more zeros, than before.
    """
    changed = _changed(smaller)
    now = {layer.operation: layer for layer in layers_of(smaller.module.main)}
    for before, operation, places in smaller.twins:
        layer = now[operation]
        fewer = (
            operation not in smaller.factored
            and layer.weight.shape[layer.reduced] < before.weight.shape[before.reduced]
        )
        less = fewer or operation in smaller.thinned
        if not (less if near else operation in changed) or not _can_fit(layer):
            continue
        fit = Fit()
        runner, data = _runner(smaller.module, layer.data)
        flat = np.asarray(layer.weight, np.float64).reshape(layer.channels, -1).T if layer.axis == 0 else layer.weight
        bias = 0.0 if layer.bias is None else layer.bias
        for feeds, (chosen, wanted) in zip(reference.batches, reference.rows(before), strict=True):
            (array,) = runner.run(feeds, [data])
            inputs = _inputs(layer, array, chosen)
            fit.add(inputs, wanted[:, places] - (inputs @ flat + bias))
        adjust(smaller.module.main, layer, fit)
    erase_dead(smaller.module.main)


def _can_fit(layer: Layer) -> bool:
    attributes = layer.operation.attributes
    plain = attributes.get("group", 1) == 1 and attributes.get("auto_pad", "NOTSET") == "NOTSET"
    return plain and layer.weight.size // layer.channels <= LARGEST_INPUTS


def _inputs(layer: Layer, array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """What the weights meet at some of a layer's results, a few samples at a time."""
    if layer.operation.name != "onnx.Conv":
        return vectors(layer, array)[chosen]
    taps = int(np.prod(layer.weight.shape[2:]))
    step = max(1, _CHUNK // max(1, array[0].size * taps))
    found, start = [], 0
    for first in range(0, len(array), step):
        rows = vectors(layer, array[first : first + step])
        inside = chosen[(chosen >= start) & (chosen < start + len(rows))]
        found.append(rows[inside - start])
        start += len(rows)
    return np.concatenate(found)


def _changed(smaller: Smaller) -> set[Operation]:
    """Operations whose result differs from before in the channels that it still has."""
    fewer = {
        operation
        for before, operation, _ in smaller.twins
        if before.operation.attributes.get("group", 1) == 1
        and _reads(before.operation, before.reduced) != _reads(operation, before.reduced)
    }
    found: set[Operation] = set()
    for operation in smaller.module.main:
        behind = any(value.producer in found for value in operation.present_operands)
        if behind or operation in fewer or operation in smaller.factored | smaller.thinned:
            found.add(operation)
    return found


def _reads(operation: Operation, axis: int) -> int:
    weight = operation.operands[1]
    assert weight is not None
    return weight.shape[axis]


def _runner(module: Module, value: Value) -> tuple[Runner, Value]:
    """What runs a module up to one value, and that value."""
    mapping: dict[Value, Value] = {}
    part = clone_module(module, mapping)
    part.main.set_outputs([mapping[value]])
    erase_dead(part.main)
    return Runner(part, [mapping[value]]), mapping[value]
