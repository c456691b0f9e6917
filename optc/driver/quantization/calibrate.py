"""Calibration: run the float model on data and watch every activation that may be quantized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.running import Runner
from optc.ir.core import Module, Value
from optc.passes.quantization.formats import IntegerFormat
from optc.passes.quantization.importance import importances
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.observers import MinMax, Observer, observer
from optc.passes.quantization.sites import sites_of

_ANY = IntegerFormat(8)


@dataclass
class Calibration:
    """What was seen.

    Attributes:
        observers: of each value that codes may be read from, by the value whose range it has.
        means: of each channel of the data of each layer, by the layer's name; float64.
        constant: the names of tensors that never changed.
        samples: how many ran.
    """

    observers: dict[Value, Observer] = field(default_factory=dict)
    means: dict[str, np.ndarray] = field(default_factory=dict)
    constant: list[str] = field(default_factory=list)
    samples: int = 0


def calibrate(
    module: Module, layers: Sequence[Layer], data: Data, *, method: str = "mse", progress: Progress = silent
) -> Calibration:
    """Run the data through a module.

    Args:
        module: in float.
        layers: of its main graph.
        data: for its inputs.
        method: of the observers.
        progress: called with (what, done, total, detail).

    Raises:
        OptcError: an activation is not finite; says which.
    """
    sites = sites_of(module.main, layers)
    sources = list(dict.fromkeys(sites.sources.values()))
    found = Calibration({value: observer(method, value.name) for value in sources})
    observed = {value: value for value in sources}
    for value, importance in importances(sites, layers).items():
        observed[value], found.observers[value].weights = importance.value, importance.weights
    observers = {watched: (found.observers[value], value) for value, watched in observed.items()}
    extremes = {value: MinMax(value.name) for value in sources}
    read: dict[Value, list[Layer]] = {}
    for layer in layers:
        read.setdefault(layer.data, []).append(layer)
    watched = list(dict.fromkeys([*observers, *read]))
    sums: dict[Value, np.ndarray] = {}
    counts: dict[Value, int] = {}
    runner = Runner(module, watched)
    for feeds in data.batches():
        for value, array in runner.each(feeds):
            if value in observers:
                watching, source = observers[value]
                watching.observe(array)
                extremes[source].observe(array)
            if value in read:
                axis = read[value][0].channel_axis % array.ndim
                others = tuple(each for each in range(array.ndim) if each != axis)
                sums[value] = sums.get(value, 0.0) + array.sum(axis=others, dtype=np.float64)
                counts[value] = counts.get(value, 0) + array.size // array.shape[axis]
        found.samples += len(next(iter(feeds.values())))
        progress("calibrating", found.samples, data.samples)
    for value, users in read.items():
        for layer in users:
            found.means[layer.name] = sums[value] / max(1, counts[value])
    for value, item in extremes.items():
        low, high = item.range(_ANY)
        if float(low) == float(high):
            found.constant.append(value.name)
    return found
