"""The kernel predictor as the judge of schedules: which point of a space is fastest, and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.interface import Candidate, SchedulePoint
from optc.costmodel.kernels.features import WorkloadFeatures, target_vector
from optc.costmodel.kernels.predictor import KernelPredictor
from optc.targets.target import Target


@dataclass(frozen=True)
class LearnedSchedules:
    """See SchedulePredictor.

    Points of templates that were never measured, and all points of a workload that resembles none of the measured
    ones, keep their templates' estimates, scaled to the others.
    """

    predictor: KernelPredictor

    def figures(self, target: Target) -> Target:
        """See SchedulePredictor."""
        return self.predictor.figures(target)

    def predict(self, candidate: Candidate, points: Sequence[SchedulePoint], target: Target) -> list[float]:
        """See SchedulePredictor."""
        estimates = np.array([point.estimate for point in points])
        features = WorkloadFeatures(target)
        (workload,) = features.vectors([candidate])
        workload = [*workload, *target_vector(target)]
        known = np.array([self.predictor.vocabulary.knows(point.template) for point in points])
        familiar = self.predictor.understands(candidate) and bool(self.predictor.knows(np.array([workload]))[0])
        if not known.any() or not familiar:
            return [float(each) for each in estimates]
        rows = point_rows(self.predictor, workload, points, target)
        seconds = math.exp(workload[0]) * np.exp(self.predictor.ranked_residuals(rows))
        if not known.all():
            ratio = float(np.median(seconds[known] / np.maximum(estimates[known], 1e-12)))
            seconds = np.where(known, seconds, estimates * ratio)
        return [float(each) for each in seconds]


def point_rows(
    predictor: KernelPredictor, workload: Sequence[float], points: Sequence[SchedulePoint], target: Target
) -> npt.NDArray[np.floating[Any]]:
    """All features of some points of one workload, shape (points, columns).

    Args:
        predictor: whose vocabulary names the columns.
        workload: features of workload and target.
        points: of all templates that compete.
        target: with the figures that the estimates come from.
    """
    best: dict[str, float] = {}
    for point in points:
        best[point.template] = min(point.estimate, best.get(point.template, point.estimate))
    lanes = max(1, target.vector_bytes // 4)
    vocabulary = predictor.vocabulary
    schedules = [
        vocabulary.vector(each.template, dict(each.schedule), each.estimate, best[each.template], workload, lanes)
        for each in points
    ]
    shared = np.broadcast_to(np.array(workload), (len(points), len(workload)))
    return np.concatenate([shared, np.array(schedules)], axis=1)
