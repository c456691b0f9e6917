"""Post-training quantization of a module."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from optc.backends.interface import Progress, silent
from optc.driver.quantization.calibrate import Calibration
from optc.driver.quantization.data import Data
from optc.driver.quantization.grams import grams
from optc.errors import OptcError, UsageError
from optc.ir.core import Module
from optc.ir.source import near
from optc.passes.quantization.activations import activation_for
from optc.passes.quantization.bias import corrected_bias
from optc.passes.quantization.formats import IntegerFormat
from optc.passes.quantization.gptq import rounded
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.plan import QuantizationPlan, QuantizedLayer
from optc.passes.quantization.schemes import Scheme
from optc.passes.quantization.sites import sites_of
from optc.passes.quantization.weights import quantize_weight


@dataclass(frozen=True)
class Methods:
    """What is done beyond rounding to the nearest.

    Attributes:
        search: scales with the least squared error of the weights.
        correct_bias: take back what rounding shifts on average.
        rounding: a name of `ROUNDINGS`.
    """

    search: bool = True
    correct_bias: bool = True
    rounding: str = "nearest"


def make_plan(
    module: Module,
    layers: Sequence[Layer],
    schemes: Mapping[str, Scheme],
    calibration: Calibration,
    methods: Methods | None = None,
    *,
    kept: Mapping[str, str] | None = None,
    data: Data | None = None,
    progress: Progress = silent,
) -> QuantizationPlan:
    """Quantize layers of a prepared module, each to its scheme.

    Args:
        module: in float; not changed.
        layers: all of its layers.
        schemes: by layer's name; a layer without one stays in float.
        calibration: of the module on the data.
        methods: what to do beyond rounding.
        kept: why layers stay in float.
        data: that rounding other than to the nearest is chosen on.
        progress: called with (what, done, total, detail).

    Raises:
        UsageError: there is no such rounding, or no data for it.
    """
    methods = methods or Methods()
    if methods.rounding not in ROUNDINGS:
        hint = near(methods.rounding, ROUNDINGS) or ", ".join(ROUNDINGS)
        raise UsageError(f"no rounding of weights is called '{methods.rounding}'", hint=hint)
    refine = ROUNDINGS[methods.rounding]
    if refine is not None and data is None:
        raise UsageError(f"'{methods.rounding}' rounding needs data")
    plan = QuantizationPlan(kept=dict(kept or {}))
    chosen = [layer for layer in layers if layer.name in schemes]
    _set_activations(plan, module, chosen, schemes, calibration)
    for layer in chosen:
        weight = quantize_weight(layer, schemes[layer.name], search=methods.search)
        plan.layers[layer.name] = QuantizedLayer(layer, schemes[layer.name], weight, layer.bias)
    if refine is not None and data is not None:
        refine(module, plan, data, progress)
    if methods.correct_bias and methods.rounding != "learned":
        _correct_biases(plan, calibration)
    return plan


def _correct_biases(plan: QuantizationPlan, calibration: Calibration) -> None:
    for item in plan.layers.values():
        layer = item.layer
        replaceable = layer.takes_bias and (layer.operation.operand(2) is None or layer.bias is not None)
        if replaceable and layer.name in calibration.means:
            item.bias = corrected_bias(layer, item.weight.values, calibration.means[layer.name])


def _gptq(module: Module, plan: QuantizationPlan, data: Data, progress: Progress) -> None:
    found = grams(module, [item.layer for item in plan.layers.values()], data, progress=progress)
    for name, gram in found.items():
        item = plan.layers[name]
        item.weight = rounded(item.layer, item.scheme, gram)


def _learned(module: Module, plan: QuantizationPlan, data: Data, progress: Progress) -> None:
    try:
        from optc.driver.quantization.learning.rounding import learn_rounding
    except ImportError as fault:
        raise OptcError(
            "learned rounding needs PyTorch, which is not installed", why=str(fault), hint="pip install 'optc[torch]'"
        ) from fault
    learn_rounding(module, plan, data, progress=progress)


ROUNDINGS: dict[str, Callable[[Module, QuantizationPlan, Data, Progress], None] | None] = {
    "nearest": None,
    "gptq": _gptq,
    "learned": _learned,
}
"""How weights are rounded. `gptq`: each layer for the least error of what it gives on the data; layers that it does not
take keep the nearest numbers. `learned`: block by block, with scales and biases, in PyTorch."""


def _set_activations(
    plan: QuantizationPlan,
    module: Module,
    chosen: Collection[Layer],
    schemes: Mapping[str, Scheme],
    calibration: Calibration,
) -> None:
    formats = [scheme.activations for layer in chosen if (scheme := schemes[layer.name]).activations is not None]
    if not formats:
        return
    coded = [layer for layer in chosen if schemes[layer.name].activations is not None]
    format = formats[0]
    for source in sites_of(module.main, coded).sources.values():
        if source not in plan.activations:
            low, high = calibration.observers[source].range(format if isinstance(format, IntegerFormat) else _BYTE)
            plan.activations[source] = activation_for(float(low), float(high), format)


_BYTE = IntegerFormat(8, signed=False)
