"""Mixed precision: the layers that cost most stay in float until a bound holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from optc.driver.quantization.analysis import SchemeErrors
from optc.driver.quantization.data import Data
from optc.driver.quantization.running import Runner
from optc.errors import UsageError
from optc.ir.core import Module
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.quantization.qdq import quantized_module

Measure = Callable[[Collection[str]], float]
"""From the names of the quantized layers to a figure of which more is better."""


@dataclass(frozen=True)
class Mixture:
    """Which layers are quantized.

    Attributes:
        quantized: their names.
        kept: those in float, with the reason.
        figure: what was measured on the model.
        met: whether the bound holds with at least one layer quantized.
    """

    quantized: tuple[str, ...]
    kept: dict[str, str]
    figure: float
    met: bool


def mix(errors: SchemeErrors, measure: Measure, bound: float, unit: str) -> Mixture:
    """Keep as few layers in float as the bound needs, the one with the lowest `output_snr` first.

    The number of layers is bisected, so the figure is taken to rise with it; the choice itself is always measured.

    Args:
        errors: of each layer alone.
        measure: the figure of a choice of layers.
        bound: the least figure.
        unit: of the figure, for the reasons.
    """
    order = sorted(errors.layers, key=lambda layer: layer.output_snr)
    figures: dict[int, float] = {}

    def figure(kept: int) -> float:
        if kept not in figures:
            figures[kept] = measure([layer.name for layer in order[kept:]])
        return figures[kept]

    low, high = 0, len(order) - 1
    while low < high:
        middle = (low + high) // 2
        if figure(middle) >= bound:
            high = middle
        else:
            low = middle + 1
    reached = figure(low)
    names = {layer.name for layer in order[low:]}
    kept = {
        layer.name: f"alone it leaves {layer.output_snr:.1f} dB at the output, "
        f"rank {place + 1} of {len(order)}; {bound:.4g}{unit} was asked of the model"
        for place, layer in enumerate(order[:low])
    }
    quantized = tuple(layer.name for layer in errors.layers if layer.name in names)
    return Mixture(quantized, kept, reached, reached >= bound)


def accuracy(module: Module, data: Data, labels: np.ndarray) -> float:
    """The share of samples whose largest output is the right class, of the first output.

    Raises:
        UsageError: there are fewer labels than samples, or the output is no list of scores.
    """
    runner = Runner(module, module.main.outputs[:1])
    right = count = 0
    for feeds in data.batches():
        (scores,) = runner.run(feeds)
        if scores.ndim != 2:
            raise UsageError("accuracy needs scores of classes", why=f"the first output has {scores.ndim} dimensions")
        wanted = labels[count : count + len(scores)]
        if len(wanted) < len(scores):
            raise UsageError("there are fewer labels than samples", why=f"{len(labels)} labels")
        right += int((scores.argmax(axis=1) == wanted).sum())
        count += len(scores)
    return right / max(1, count)


def plan_accuracy(
    module: Module, plan: QuantizationPlan, names: Sequence[str], data: Data, labels: np.ndarray
) -> float:
    """The accuracy with some layers of a plan quantized."""
    return accuracy(quantized_module(module, plan, names), data, labels)
