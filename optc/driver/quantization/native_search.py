"""The search for precisions of a native artifact: costs are those that its kernels are predicted to have."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.mixed import PrecisionSearch
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.sensitivity import SAMPLES, Outputs
from optc.passes.base import PassContext
from optc.passes.integer.arithmetic import IntegerArithmetic
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.quantization.prices import Errors
from optc.passes.quantization.search.problem import FLOAT, Choice, Option, PrecisionProblem
from optc.passes.simplify.simplify import Simplify

POINTS = 8
"""Candidates that labelled samples decide between."""

_PRICED = "integer"


def affordable(
    quantizer: Quantizer, plan: QuantizationPlan, context: PassContext, names: Collection[str] | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """What layers are predicted to take in integers and in floats, each as one kernel with what fuses with it.

    Args:
        quantizer: of the model.
        plan: every layer that may be quantized.
        context: of the compile; its remarks become those of the last pricing.
        names: layers of the plan that are quantized together; None for all.

    Returns:
        `integer_seconds` and `float_seconds` by the layer's name, and why those stay in float that integers do not
        make faster.
    """
    seconds: dict[str, dict[str, float]] = {}
    reasons: dict[str, str] = {}
    names = list(plan.layers if names is None else names)
    while names:
        context.remarks.clear()
        module = quantizer.write(plan, names)
        Simplify().run(module, context)
        IntegerArithmetic().run(module, context)
        slow = set()
        for remark in context.remarks:
            if remark.pass_name != IntegerArithmetic.name or remark.what != _PRICED:
                continue
            for name in set(remark.location.nodes) & set(names):
                if remark.predicted:
                    seconds[name] = dict(remark.predicted)
                if remark.status == "missed":
                    reasons[name] = remark.reason
                    slow.add(name)
        if not slow:
            break
        # Without it its neighbours read and write floats, so they are priced again.
        names = [name for name in names if name not in slow]
    return seconds, reasons


def native_problem(
    layers: Sequence[Layer],
    scheme: str,
    seconds: Mapping[str, Mapping[str, float]],
    kept: Collection[str],
    errors: Errors,
) -> PrecisionProblem:
    """The choice between floats and one scheme for each layer.

    Conversions have no price of their own: kernels convert what they read and write.

    Args:
        layers: to choose for.
        scheme: its name.
        seconds: as from `affordable`.
        kept: layers that stay in float whatever they lose.
        errors: of each layer in the scheme.
    """
    none = (0.0,) * len(next(iter(errors.values()), (0.0,)))
    choices = []
    for layer in layers:
        priced, error = seconds.get(layer.name), errors.get((layer.name, scheme))
        options = [Option(FLOAT, none, priced["float_seconds"] if priced else 0.0)]
        if priced and error is not None and layer.name not in kept:
            options.append(Option(scheme, error, priced["integer_seconds"], coded=True))
        choices.append(Choice(layer.name, tuple(options)))
    return PrecisionProblem(tuple(choices))


def native_search(
    quantizer: Quantizer, plan: QuantizationPlan, problem: PrecisionProblem, judged: Data, progress: Progress = silent
) -> PrecisionSearch:
    """A search for a native artifact.

    Args:
        quantizer: of the model.
        plan: every layer in the one scheme that there is besides floats.
        problem: as from `native_problem`.
        judged: what assignments are verified on, the first SAMPLES.
        progress: called with (what, done, total, detail).
    """
    (scheme,) = {item.scheme.name for item in plan.layers.values()}
    outputs = Outputs.of(quantizer.module, judged, SAMPLES)
    return PrecisionSearch(quantizer.module, {scheme: plan}, problem, "latency", outputs, progress, POINTS)
