"""The learned cost model: the kernel predictor behind the interface that the passes ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from optc.costmodel.analytical import AnalyticalCostModel, least_seconds
from optc.costmodel.energy import joules
from optc.costmodel.interface import Candidate, Estimate
from optc.costmodel.kernels.features import WorkloadFeatures, target_vector
from optc.costmodel.kernels.labels import anchor_labels
from optc.costmodel.kernels.predictor import KernelPredictor
from optc.costmodel.state import Rates
from optc.targets.target import Target

UNFAMILIAR = 2.0
"""A kernel that resembles no measured one takes at most so many times its calibrated estimate, nine times in ten."""


@dataclass
class LearnedCostModel:
    """Predicts the time of a kernel with its best schedule, before any schedule is chosen.

    A kernel that resembles none of the measured ones gets the roofline, or what kernels of its kind usually take over
    theirs where that is more: nothing is promised for what is unknown. Its basis says so. On several threads the
    predicted time on one is divided as the roofline's is. No kernel is taken to compute faster than the machine.

    Attributes:
        predictor: for the target's class of machine; for other machines intervals are widened.
        threads: that one inference uses.
    """

    predictor: KernelPredictor
    threads: int = 1
    _features: dict[int, tuple[Target, Target, WorkloadFeatures]] = field(default_factory=dict, repr=False)

    def predict(self, candidates: Sequence[Candidate], target: Target) -> list[Estimate]:
        """See CostModel."""
        if not candidates:
            return []
        figures, features = self._of(target)
        single = AnalyticalCostModel(1).predict(candidates, figures)
        several = single if self.threads == 1 else AnalyticalCostModel(self.threads).predict(candidates, figures)
        machine = target_vector(figures)
        rows = np.array([[*vector, *machine] for vector in features.vectors(candidates, single)], np.float64)
        residuals = self.predictor.group_residuals(rows)
        known = self.predictor.knows(rows) & np.array([self.predictor.understands(each) for each in candidates])
        labels = anchor_labels(rows)
        low, high = self.predictor.group_intervals.of(labels)
        wider = 1.0 if self.predictor.fits(target) else UNFAMILIAR
        estimates = []
        for number, (one, many) in enumerate(zip(single, several, strict=True)):
            if known[number]:
                factor, below, above = math.exp(residuals[number]), low[number] / wider, high[number] * wider
                basis = self._basis
            else:
                usual = self.predictor.usual
                factor, below, above = (
                    math.exp(max(0.0, usual.get(labels[number], usual["*"]))),
                    1 / UNFAMILIAR,
                    UNFAMILIAR,
                )
                basis = "roofline, unlike what was measured"
            alone = max(one.seconds * factor, least_seconds(candidates[number], figures))
            seconds = alone * (many.seconds / one.seconds)
            estimate = replace(many, seconds=seconds, low=seconds * below, high=seconds * above, basis=basis)
            estimates.append(replace(estimate, joules=joules(estimate, target)))
        return estimates

    def figures(self, target: Target) -> Target:
        """The target with the figures that estimates are worked out from."""
        return self._of(target)[0]

    def rates(self, target: Target) -> Rates | None:
        """The rates at which the kernels were measured, where the target's class of machine was."""
        return self.predictor.rates if self.predictor.fits(target) else None

    @property
    def _basis(self) -> str:
        return f"learned: {self.predictor.rows} kernels"

    def _of(self, target: Target) -> tuple[Target, WorkloadFeatures]:
        """The figures and the memory of features for a target; both are kept, since passes ask many times."""
        known: Any = self._features.get(id(target))
        if known is None or known[0] is not target:
            figures = self.predictor.figures(target)
            known = self._features[id(target)] = (target, figures, WorkloadFeatures(figures))
        return known[1], known[2]
