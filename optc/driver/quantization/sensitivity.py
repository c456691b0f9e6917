"""What each layer costs in each scheme: measured at the outputs, or predicted from the curvature of the error."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Batch, Data
from optc.driver.quantization.running import Runner
from optc.errors import UsageError
from optc.ir.core import Module, Value
from optc.ir.source import near
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.quantization.prices import Errors
from optc.passes.quantization.qdq import quantized_module
from optc.passes.quantization.sites import sites_of

SAMPLES = 128
"""Of the calibration data, for the error of one layer."""


@dataclass
class Outputs:
    """The outputs of a model in float on some data, and what a changed model makes of them.

    Attributes:
        module: in float.
        batches: of the data.
    """

    module: Module
    batches: list[Batch]
    _values: list[Value] = field(init=False)
    _wanted: list[list[np.ndarray]] = field(init=False)
    _powers: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._values = [value for value in dict.fromkeys(self.module.main.outputs) if value.dtype.name == "f32"]
        runner = Runner(self.module, self._values)
        self._wanted = [runner.run(feeds) for feeds in self.batches]
        powers = np.array([[np.square(each, dtype=np.float64).sum() for each in wanted] for wanted in self._wanted])
        self._powers = np.maximum(powers.sum(axis=0), 1e-30)

    @classmethod
    def of(cls, module: Module, data: Data, samples: int | None = SAMPLES) -> Outputs:
        """On the first samples of some data; None for all."""
        count = None if samples is None else max(1, -(-samples // max(1, data.batch)))
        return cls(module, list(islice(data.batches(), count)))

    def noise(self, plan: QuantizationPlan, only: Collection[str] | None = None) -> tuple[float, ...]:
        """The noise of each output relative to its power, with all layers of a plan quantized or some."""
        mapping: dict[Value, Value] = {}
        became = quantized_module(self.module, plan, only, mapping)
        return self._noise(Runner(became, [mapping[value] for value in self._values]))

    def noise_of(self, module: Module) -> tuple[float, ...]:
        """The same of a module with outputs in the same order."""
        values = [value for value in dict.fromkeys(module.main.outputs) if value.dtype.name == "f32"]
        return self._noise(Runner(module, values))

    def _noise(self, runner: Runner) -> tuple[float, ...]:
        total = np.zeros(len(self._values))
        for feeds, wanted in zip(self.batches, self._wanted, strict=True):
            found = runner.run(feeds)
            for place, (a, b) in enumerate(zip(wanted, found, strict=True)):
                total[place] += np.square(b.astype(np.float64) - a).sum()
        return tuple((total / self._powers).tolist())


def decibels(noise: Sequence[float]) -> float:
    """Signal over noise at the worst output."""
    worst = max(noise, default=0.0)
    return float("inf") if worst <= 0.0 else -10.0 * float(np.log10(worst))


def measured(
    module: Module, plans: Mapping[str, QuantizationPlan], data: Data, *, progress: Progress = silent
) -> dict[tuple[str, str], tuple[float, ...]]:
    """The noise at each output, each layer alone being quantized to each scheme.

    Args:
        module: in float.
        plans: by the scheme's name.
        data: of which the first SAMPLES are run.
        progress: called with (what, done, total, detail).
    """
    outputs = Outputs.of(module, data)
    pairs = [(name, scheme) for scheme, plan in plans.items() for name in plan.layers]
    found = {}
    for number, (name, scheme) in enumerate(pairs):
        progress("measuring the error of each layer", number, len(pairs), f"{name} in {scheme}")
        found[name, scheme] = outputs.noise(plans[scheme], [name])
    return found


def by_curvature(
    module: Module, plans: Mapping[str, QuantizationPlan], data: Data, *, progress: Progress = silent
) -> dict[tuple[str, str], tuple[float, ...]]:
    """The same, predicted from the Hessian of the outputs' error (Dong et al., HAWQ-V2, 2020).

    Half its diagonal times the squares of what quantization changes in a layer's weights, and half its trace times
    their mean in the activation that the layer reads. No model is quantized, so it takes less time; how errors lie to
    each other is not seen. The outputs share one figure.
    """
    from optc.driver.quantization.curvature import hessian_diagonals

    layers = {name: item.layer for plan in plans.values() for name, item in plan.layers.items()}
    weights = {name: layer.operation.operands[1] for name, layer in layers.items()}
    held = {name: value for name, value in weights.items() if value is not None}
    outputs = sum(value.dtype.name == "f32" for value in dict.fromkeys(module.main.outputs))
    read = list(dict.fromkeys(layer.data for layer in layers.values()))
    curved = hessian_diagonals(module, [*dict.fromkeys(held.values()), *read], data, progress=progress)
    batches = list(islice(data.batches(), max(1, SAMPLES // max(1, data.batch))))
    runner = Runner(module, read)
    arrays = [runner.run(feeds) for feeds in batches]
    found = {}
    for scheme, plan in plans.items():
        for name, item in plan.layers.items():
            layer = item.layer
            change = np.square(item.weight.values.astype(np.float64) - layer.weight)
            noise = 0.5 * float((curved[held[name]] * change).sum())
            if item.scheme.activations is not None:
                source = sites_of(module.main, [layer]).sources[layer.data]
                place = read.index(layer.data)
                how = plan.activations[source]
                squares = [np.square(how.apply(each[place]) - each[place], dtype=np.float64).mean() for each in arrays]
                noise += 0.5 * float(curved[layer.data] * np.mean(squares))
            found[name, scheme] = (noise,) * outputs
    return found


Sensitivity = Callable[..., Errors]

SENSITIVITIES: dict[str, Sensitivity] = {"measured": measured, "hessian": by_curvature}
"""By name."""


def sensitivity(name: str) -> Sensitivity:
    """What works out the error of layers.

    Raises:
        UsageError: nothing is called so.
    """
    if name not in SENSITIVITIES:
        hint = near(name, SENSITIVITIES) or f"one of {', '.join(SENSITIVITIES)}"
        raise UsageError(f"'{name}' is no way to find sensitivities", hint=hint)
    return SENSITIVITIES[name]
