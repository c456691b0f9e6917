"""What quantizing each layer costs: alone, and after all that come before it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.errors import Noise
from optc.driver.quantization.running import Runner
from optc.ir.core import Module, Value
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.quantization.qdq import quantized_module
from optc.passes.quantization.sites import sites_of


@dataclass(frozen=True)
class LayerError:
    """The error of one layer in one scheme; ratios are signal over error in decibels.

    Attributes:
        name: of the layer.
        output_snr: at the model's outputs, this layer alone being quantized (the worst output).
        layer_snr: at the layer's own result, likewise.
        worst_channel: of that result.
        worst_snr: of that channel.
        clipped: the share of the values it reads that lie outside the codes' range.
        chain_snr: at the layer's result when every layer is quantized.
    """

    name: str
    output_snr: float
    layer_snr: float
    worst_channel: int
    worst_snr: float
    clipped: float
    chain_snr: float


@dataclass(frozen=True)
class SchemeErrors:
    """One scheme over all layers.

    Attributes:
        scheme: its name.
        output_snr: at the model's outputs, every layer being quantized.
        layers: in order of execution.
    """

    scheme: str
    output_snr: float
    layers: tuple[LayerError, ...]

    def first_below(self, bound: float) -> str | None:
        """The first layer whose result, with every layer quantized, has a ratio below a bound."""
        return next((layer.name for layer in self.layers if layer.chain_snr < bound), None)


def analyze(
    module: Module, plan: QuantizationPlan, scheme: str, data: Data, *, progress: Progress = silent
) -> SchemeErrors:
    """The errors of a plan on data.

    Args:
        module: in float, that the plan was made for.
        plan: whose layers to look at.
        scheme: what to call it.
        data: to run.
        progress: called with (what, done, total, detail).
    """
    items = list(plan.layers.values())
    results = {item.layer.name: item.layer.operation.result for item in items}
    chain, output = _noise(module, plan, None, list(results.values()), data)
    errors = []
    for number, item in enumerate(items):
        layer = item.layer
        progress(f"quantizing one layer at a time to {scheme}", number, len(items), layer.name)
        own, model = _noise(module, plan, [layer.name], [results[layer.name]], data, layer.channel_axis)
        channel, worst = own[0].worst
        errors.append(
            LayerError(
                layer.name,
                model,
                own[0].snr_db,
                channel,
                worst,
                _clipped(module, plan, layer.name, data),
                chain[number].snr_db,
            )
        )
    return SchemeErrors(scheme, output, tuple(errors))


def output_snr(module: Module, plan: QuantizationPlan, only: Collection[str], data: Data) -> float:
    """The ratio in decibels at the worst output, some layers of a plan being quantized."""
    return _noise(module, plan, only, [], data)[1]


def _noise(
    module: Module,
    plan: QuantizationPlan,
    only: Collection[str] | None,
    values: Sequence[Value],
    data: Data,
    axis: int | None = None,
) -> tuple[list[Noise], float]:
    """The noise of some values, and the ratio of the worst output."""
    mapping: dict[Value, Value] = {}
    became = quantized_module(module, plan, only, mapping)
    outputs = list(dict.fromkeys(module.main.outputs))
    watched = list(dict.fromkeys([*values, *outputs]))
    before, after = Runner(module, watched), Runner(became, [mapping[value] for value in watched])
    noise = {value: Noise(axis if value in values else None) for value in watched}
    for feeds in data.batches():
        for value, wanted, found in zip(watched, before.run(feeds), after.run(feeds), strict=True):
            noise[value].add(wanted, found)
    return [noise[value] for value in values], min(noise[value].snr_db for value in outputs)


def _clipped(module: Module, plan: QuantizationPlan, name: str, data: Data) -> float:
    """The share of the values that a layer reads which are outside the range of codes."""
    layer = plan.layers[name].layer
    sources = sites_of(module.main, [layer]).sources
    how = plan.activations.get(sources.get(layer.data, layer.data))
    if how is None:
        return 0.0
    low, high = how.bounds
    # Half a step outside still rounds to the last code.
    margin = how.scale / 2
    runner = Runner(module, [layer.data])
    outside = count = 0
    for feeds in data.batches():
        (values,) = runner.run(feeds)
        outside += int(np.count_nonzero((values < low - margin) | (values > high + margin)))
        count += values.size
    return outside / max(1, count)
