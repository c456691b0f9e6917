"""How far a workload lies from those that a predictor was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.kernels.perceptron import CLIP, TOGETHER

Floats = npt.NDArray[np.floating[Any]]
CENTRES = 256


@dataclass(frozen=True)
class Familiarity:
    """Distances to representatives of the training workloads, in standard deviations a feature.

    Attributes:
        mean: shape (features,).
        deviation: shape (features,).
        centres: shape (k, features), standardised.
        limit: the distance that nineteen in twenty unseen workloads of the training's own kind stay below.
    """

    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]
    centres: npt.NDArray[np.float32]
    limit: float

    def distances(self, rows: Floats) -> Floats:
        """Shape (n, features) to (n,)."""
        found = np.empty(len(rows))
        own = (self.centres**2).sum(axis=1)
        for first in range(0, len(rows), TOGETHER):
            scaled = _scaled(rows[first : first + TOGETHER], self.mean, self.deviation)
            nearest = (own - 2.0 * (scaled @ self.centres.T)).min(axis=1)
            found[first : first + TOGETHER] = (scaled * scaled).sum(axis=1) + nearest
        return np.sqrt(np.maximum(found, 0.0) / rows.shape[1])

    def known(self, rows: Floats) -> npt.NDArray[np.bool_]:
        """Whether each row resembles what was trained on."""
        return np.asarray(self.distances(rows) <= self.limit)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """For a model file."""
        return {
            f"{prefix}.mean": self.mean,
            f"{prefix}.deviation": self.deviation,
            f"{prefix}.centres": self.centres,
            f"{prefix}.limit": np.array([self.limit]),
        }

    @staticmethod
    def of_arrays(arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Familiarity:
        """What `arrays` gave."""
        return Familiarity(
            arrays[f"{prefix}.mean"], arrays[f"{prefix}.deviation"], arrays[f"{prefix}.centres"],
            float(arrays[f"{prefix}.limit"][0]),
        )  # fmt: skip


def familiarity(rows: Floats, classes: npt.NDArray[np.str_], seed: int = 0) -> Familiarity:
    """Representatives by farthest-point traversal (Gonzalez, 1985); the limit from classes that were left out.

    Args:
        rows: shape (n, features), one for each workload.
        classes: shape (n,).
        seed: of the left-out half.
    """
    mean = rows.mean(axis=0).astype(np.float32)
    deviation = np.where(rows.std(axis=0) < 1e-6, LEAST_DEVIATION, rows.std(axis=0)).astype(np.float32)
    half = np.random.default_rng(seed).random(len(np.unique(classes))) < 0.8
    inside = dict(zip(np.unique(classes).tolist(), half.tolist(), strict=True))
    seen = np.array([inside[name] for name in classes.tolist()])
    unseen = rows[~seen] if (~seen).any() else rows
    part = Familiarity(mean, deviation, _spread(_scaled(rows[seen] if seen.any() else rows, mean, deviation)), 0.0)
    limit = float(np.quantile(part.distances(unseen), 0.95))
    return Familiarity(mean, deviation, _spread(_scaled(rows, mean, deviation)), limit)


LEAST_DEVIATION = 0.1  # of a feature that never changed: another machine is far away


def _scaled(rows: Floats, mean: Floats, deviation: Floats) -> npt.NDArray[np.float32]:
    return np.clip((np.asarray(rows, np.float32) - mean) / deviation, -2 * CLIP, 2 * CLIP).astype(np.float32)


def _spread(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    chosen = [0]
    distance = ((points - points[0]) ** 2).sum(axis=1)
    while len(chosen) < min(CENTRES, len(points)):
        farthest = int(distance.argmax())
        if distance[farthest] <= 0:
            break
        chosen.append(farthest)
        distance = np.minimum(distance, ((points - points[farthest]) ** 2).sum(axis=1))
    return points[chosen]
