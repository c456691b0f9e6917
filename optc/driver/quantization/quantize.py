"""The whole way: model and data in, a quantized model with the reason of every decision out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optc import targets
from optc.backends.interface import Progress, silent
from optc.driver.quantization.analysis import SchemeErrors, analyze
from optc.driver.quantization.calibrate import Calibration, calibrate
from optc.driver.quantization.data import Data
from optc.driver.quantization.images import Preprocessing
from optc.driver.quantization.mixed import PrecisionSearch
from optc.driver.quantization.post_training import Methods, make_plan
from optc.driver.quantization.preparation import equalize_module, prepared, smooth_module
from optc.driver.quantization.sensitivity import SENSITIVITIES, Outputs, Sensitivity, sensitivity
from optc.errors import UsageError
from optc.ir.core import Module
from optc.ir.source import near
from optc.passes.quantization.layers import Layer, layers_of
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.quantization.prices import Objective, Pricing, problem_of
from optc.passes.quantization.qdq import quantized_module
from optc.passes.quantization.schemes import scheme_of

VERIFIED = 512
"""Samples of the calibration data that assignments are verified on, at most."""


@dataclass
class Quantizer:
    """A prepared model and what calibration saw of it.

    Attributes:
        module: in float.
        layers: that can be quantized.
        data: it was calibrated on.
        calibration: what was seen.
    """

    module: Module
    layers: list[Layer]
    data: Data
    calibration: Calibration

    @classmethod
    def of(
        cls,
        model: Any,
        calib: Any,
        *,
        shapes: Mapping[str, Sequence[int]] | None = None,
        dims: Mapping[str, int] | None = None,
        example_inputs: Any = None,
        method: str = "mse",
        limit: int | None = None,
        preprocessing: Preprocessing | None = None,
        equalize: bool = False,
        smooth: bool = False,
        progress: Progress = silent,
    ) -> Quantizer:
        """Load a model and calibrate it; other arguments as for `load_model`, `Data` and `calibrate`.

        Args:
            equalize: scale channels between layers so that one range suits all of an activation's.
            smooth: move outliers of what matrix products read into their weights.

        Raises:
            ModelError: it has no layer with constant weights.
        """
        module = prepared(model, "quantize", shapes, dims, example_inputs)
        data = Data(calib, module.main.inputs, limit=limit, preprocessing=preprocessing)
        if equalize:
            equalize_module(module, data)
        if smooth:
            smooth_module(module, data)
        layers = layers_of(module.main)
        return cls(module, layers, data, calibrate(module, layers, data, method=method, progress=progress))

    def plan(
        self,
        scheme: str,
        methods: Methods | None = None,
        *,
        keep_float: Sequence[str] = (),
        progress: Progress = silent,
    ) -> QuantizationPlan:
        """All layers in one scheme, but for those that the user keeps in float.

        Raises:
            UsageError: there is no such scheme or layer.
        """
        chosen, names = scheme_of(scheme), [layer.name for layer in self.layers]
        for name in keep_float:
            if name not in names:
                raise UsageError(f"no layer is called '{name}'", hint=near(name, names) or f"such as {names[0]}")
        schemes = {name: chosen for name in names if name not in keep_float}
        kept = dict.fromkeys(keep_float, "kept in float by the user")
        return make_plan(
            self.module, self.layers, schemes, self.calibration, methods, kept=kept, data=self.data, progress=progress
        )

    def errors(self, plan: QuantizationPlan, scheme: str, progress: Progress = silent) -> SchemeErrors:
        """The error of each layer of a plan."""
        return analyze(self.module, plan, scheme, self.data, progress=progress)

    def search(
        self,
        formats: Sequence[str],
        *,
        objective: Objective = "latency",
        target: str = "cpu",
        how: str = "measured",
        methods: Methods | None = None,
        keep_float: Sequence[str] = (),
        progress: Progress = silent,
    ) -> PrecisionSearch:
        """What mixed precision is searched with.

        Args:
            formats: that layers may have, besides float.
            objective: what is to be small.
            target: a name that `optc targets` lists, or the path of a target file.
            how: errors of layers are found: `measured` or `hessian`.
            methods: of quantization.
            keep_float: layers that stay in float.
            progress: called with (what, done, total, detail).

        Raises:
            UsageError: there is no such format, layer, target or way.
        """
        from optc.costmodel.analytical import AnalyticalCostModel

        find = sensitivity(how)
        loaded = targets.load(target)
        plans = {name: self.plan(name, methods, keep_float=keep_float) for name in dict.fromkeys(formats)}
        return self.searched(plans, Pricing(objective, loaded, AnalyticalCostModel()), find, progress)

    def searched(
        self,
        plans: Mapping[str, QuantizationPlan],
        pricing: Pricing,
        find: Sensitivity = SENSITIVITIES["measured"],
        progress: Progress = silent,
    ) -> PrecisionSearch:
        """A search over plans that exist, by the name of their scheme."""
        errors = find(self.module, plans, self.data, progress=progress)
        schemes = [scheme_of(name) for name in plans]
        kept = {name: reason for plan in plans.values() for name, reason in plan.kept.items()}
        problem = problem_of(self.module.main, self.layers, schemes, errors, pricing, kept=kept)
        outputs = Outputs.of(self.module, self.data, VERIFIED)
        return PrecisionSearch(self.module, plans, problem, pricing.objective, outputs, progress)

    def write(self, plan: QuantizationPlan, names: Sequence[str] | None = None) -> Module:
        """The module in QDQ form, with all layers of a plan or some quantized."""
        return quantized_module(self.module, plan, names)
