"""Predictors of whole architectures: fitting with everything chosen by cross-validation, and a form for files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.architectures.intervals import Interval, calibrate
from optc.costmodel.architectures.regression import Array, Correction, Linear, fit_correction, fit_linear
from optc.costmodel.architectures.space import Codes, Space
from optc.costmodel.kinds import Prediction

CORRECTIONS: tuple[tuple[float, float], ...] = ((8.0, 0.2), (8.0, 0.05), (16.0, 0.1))
"""(kernel length, noise) of the corrections that compete with the linear model alone."""
_MARGIN = 0.1  # of a feature's range, by which an architecture may leave that of the samples


@dataclass(frozen=True)
class ArchitecturePredictor:
    """Predicts the latency of architectures of one space on one device.

    Attributes:
        space: the search space.
        style: how the device's runtime executes an architecture; one of the space's.
        linear: latency from counts of work.
        correction: to its logarithm, or None.
        interval: of the measurements around the prediction.
        least: the least value of each feature in the samples.
        most: the greatest.
    """

    space: Space
    style: str
    linear: Linear
    correction: Correction | None
    interval: Interval
    least: Array
    most: Array

    def log_latency(self, features: Array) -> Array:
        """Logarithms of the latencies of rows of features."""
        log_latency = self.linear.log_latency(features)
        return log_latency if self.correction is None else log_latency + self.correction(features)

    def predict(self, codes: Codes) -> Prediction:
        """Latencies, intervals and whether each architecture resembles the samples."""
        features = self.space.features(codes, self.style)
        log_latency = self.log_latency(features)
        low, high = self.interval.ends(log_latency)
        room = _MARGIN * (self.most - self.least)
        inside = ((features >= self.least - room) & (features <= self.most + room)).all(1)
        known = inside & self.space.regular(codes)
        return Prediction(np.exp(log_latency), np.exp(low), np.exp(high), known)

    def tabulated(self) -> Callable[[Codes], Prediction]:
        """`predict`, but worked out once for a whole space where it is small: for searches that ask again and again."""
        position = self.space.position
        if position is None:
            return self.predict
        every = self.predict(self.space.candidates())

        def look_up(codes: Codes) -> Prediction:
            rows = position(codes)
            return Prediction(every.value[rows], every.low[rows], every.high[rows], every.known[rows])

        return look_up

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The parameters in single precision."""
        stored: dict[str, npt.NDArray[Any]] = {
            "linear": self.linear.coefficients,
            "floor": np.array([self.linear.floor]),
            "interval": np.stack([self.interval.knots, self.interval.low, self.interval.high]),
            "range": np.stack([self.least, self.most]),
        }
        if self.correction is not None:
            raw = self.correction.centers * self.correction.scale + self.correction.mean
            stored["centers"] = _compact(raw)
            stored["weights"] = self.correction.weights
            stored["spread"] = np.stack([self.correction.mean, self.correction.scale])
            stored["length"] = np.array([self.correction.length])
        return {name: value if value.dtype == np.uint8 else value.astype(np.float32) for name, value in stored.items()}

    @staticmethod
    def of_arrays(space: Space, style: str, stored: dict[str, npt.NDArray[Any]]) -> ArchitecturePredictor:
        """The predictor of `arrays`."""
        wide = {name: value.astype(np.float64) for name, value in stored.items()}
        correction = None
        if "centers" in wide:
            mean, scale = wide["spread"]
            centers = (wide["centers"] - mean) / scale
            correction = Correction(centers, wide["weights"], mean, scale, float(wide["length"][0]))
        linear = Linear(wide["linear"], float(wide["floor"][0]))
        return ArchitecturePredictor(
            space, style, linear, correction, Interval(*wide["interval"]), wide["range"][0], wide["range"][1]
        )


def fit(space: Space, codes: Codes, latency: Array, folds: int, seed: int) -> ArchitecturePredictor:
    """Fit a predictor; the style of execution and the correction are those with the best out-of-fold predictions.

    Args:
        space: the search space.
        codes: of the samples.
        latency: of the samples, positive.
        folds: of the cross-validation; a group of equal architectures never straddles two.
        seed: of the folds.
    """
    fold = _folds(space.groups(codes), folds, seed)
    logs = np.log(latency)
    tables = {style: space.features(codes, style) for style in space.styles}
    choices: tuple[tuple[float, float] | None, ...] = (None, *(CORRECTIONS if space.position else ()))
    found = {
        (style, choice): _out_of_fold(tables[style], latency, fold, choice)
        for style in space.styles
        for choice in choices
    }
    style, choice = max(found, key=lambda pair: _hits(found[pair], logs))
    linear, correction = _fit(tables[style], latency, choice)
    table = tables[style]
    interval = calibrate(found[style, choice], logs)
    return ArchitecturePredictor(space, style, linear, correction, interval, table.min(0), table.max(0))


def _fit(features: Array, latency: Array, choice: tuple[float, float] | None) -> tuple[Linear, Correction | None]:
    linear = fit_linear(features, latency)
    if choice is None:
        return linear, None
    residual = np.log(latency) - linear.log_latency(features)
    return linear, fit_correction(features, residual, *choice)


def _out_of_fold(
    features: Array, latency: Array, fold: npt.NDArray[np.int64], choice: tuple[float, float] | None
) -> Array:
    """Log-latencies of each row, predicted from the other folds."""
    found = np.empty(len(latency))
    for number in np.unique(fold):
        inside = fold == number
        linear, correction = _fit(features[~inside], latency[~inside], choice)
        found[inside] = linear.log_latency(features[inside])
        if correction is not None:
            found[inside] += correction(features[inside])
    return found


def _hits(log_prediction: Array, log_measured: Array) -> float:
    """The share within ±10%, plus that within ±5%: what is steep enough to choose by, and blind to outliers."""
    errors = np.abs(np.expm1(log_prediction - log_measured))
    return float((errors <= 0.10).mean() + (errors <= 0.05).mean())


def _folds(groups: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.int64]:
    """A fold for each row; rows of a group share theirs."""
    labels, inverse = np.unique(groups, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    return (shuffled % count)[inverse.reshape(-1)]


def _compact(values: Array) -> npt.NDArray[Any]:
    """Small whole numbers as bytes; anything else as it is."""
    rounded = np.round(values)
    whole = np.allclose(values, rounded, atol=1e-6) and rounded.min() >= 0 and rounded.max() <= 255
    return rounded.astype(np.uint8) if whole else values
