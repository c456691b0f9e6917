"""Post-training quantization of a module."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from optc.driver.quantization.calibrate import Calibration
from optc.ir.core import Module
from optc.passes.base import PassContext
from optc.passes.quantization.activations import activation_for
from optc.passes.quantization.bias import corrected_bias
from optc.passes.quantization.formats import IntegerFormat
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.plan import QuantizationPlan, QuantizedLayer
from optc.passes.quantization.schemes import Scheme
from optc.passes.quantization.sites import sites_of
from optc.passes.quantization.weights import quantize_weight
from optc.passes.simplify.simplify import Simplify


@dataclass(frozen=True)
class Methods:
    """What is done beyond rounding to the nearest.

    Attributes:
        search: scales with the least squared error of the weights.
        correct_bias: take back what rounding shifts on average.
    """

    search: bool = True
    correct_bias: bool = True


def prepare(module: Module) -> None:
    """Simplify a module in place: constants folded, BatchNorm inside the convolutions."""
    Simplify().run(module, PassContext())


def make_plan(
    module: Module,
    layers: Sequence[Layer],
    schemes: Mapping[str, Scheme],
    calibration: Calibration,
    methods: Methods | None = None,
    *,
    kept: Mapping[str, str] | None = None,
) -> QuantizationPlan:
    """Quantize layers of a prepared module, each to its scheme.

    Args:
        module: in float; not changed.
        layers: all of its layers.
        schemes: by layer's name; a layer without one stays in float.
        calibration: of the module on the data.
        methods: what to do beyond rounding.
        kept: why layers stay in float.
    """
    methods = methods or Methods()
    plan = QuantizationPlan(kept=dict(kept or {}))
    chosen = [layer for layer in layers if layer.name in schemes]
    _set_activations(plan, module, chosen, schemes, calibration)
    for layer in chosen:
        weight = quantize_weight(layer, schemes[layer.name], search=methods.search)
        plan.layers[layer.name] = QuantizedLayer(layer, schemes[layer.name], weight, layer.bias)
    if methods.correct_bias:
        for item in plan.layers.values():
            layer = item.layer
            replaceable = layer.takes_bias and (layer.operation.operand(2) is None or layer.bias is not None)
            if replaceable and layer.name in calibration.means:
                item.bias = corrected_bias(layer, item.weight.values, calibration.means[layer.name])
    return plan


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
