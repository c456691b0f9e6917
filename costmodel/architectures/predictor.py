"""Predictors of whole architectures, and their form for files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.architectures.intervals import Interval
from optc.costmodel.architectures.regression import Array, Correction, Linear
from optc.costmodel.architectures.sessions import Sessions
from optc.costmodel.architectures.space import Codes, Space
from optc.costmodel.kinds import Prediction

_MARGIN = 0.1  # of a feature's range, by which an architecture may leave that of the samples


@dataclass(frozen=True)
class Remainder:
    """What is left to run of networks that compute nothing of their input.

    Attributes:
        least: the latency where no operation is left.
        share: of what the operations of a whole network add to its latency, which those that are left add.
    """

    least: float
    share: float


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
        sessions: the drift of the measuring session around each sample, or None where cross-validation sees none.
        placed: the interval of rows that say when they were measured, or None.
        remainder: of the space's `hollow` networks, or None where none was measured.
    """

    space: Space
    style: str
    linear: Linear
    correction: Correction | None
    interval: Interval
    least: Array
    most: Array
    sessions: Sessions | None = None
    placed: Interval | None = None
    remainder: Remainder | None = None

    def log_latency(self, features: Array) -> Array:
        """Logarithms of the latencies of rows of features, without drift."""
        log_latency = self.linear.log_latency(features)
        return log_latency if self.correction is None else log_latency + self.correction(features)

    def predict(self, codes: Codes, places: Array | None = None) -> Prediction:
        """Latencies, intervals and whether each architecture resembles the samples.

        Args:
            codes: the architectures, shape (n, d).
            places: shape (n,), the rows' places in the order of the set's measurement, for what was or is measured in
                that session. None: for the mean of all sessions.
        """
        features = self.space.features(codes, self.style)
        log_latency = self.log_latency(features)
        interval = self.interval
        if self.sessions is not None:
            if places is None:
                log_latency = log_latency + self.sessions.mean
            else:
                log_latency = log_latency + self.sessions.offsets(places, log_latency)
                interval = self.placed or interval
        low, high = interval.ends(log_latency)
        room = _MARGIN * (self.most - self.least)
        inside = ((features >= self.least - room) & (features <= self.most + room)).all(1)
        known = inside & self.space.regular(codes)
        if self.remainder is not None and self.space.hollow is not None:
            hollow = self.space.hollow(codes, self.style)
            left = np.log(self.remainder.least + self.remainder.share * self.linear.work(features[hollow]))
            moved = left - log_latency[hollow]
            log_latency[hollow], low[hollow], high[hollow] = left, low[hollow] + moved, high[hollow] + moved
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
        if self.remainder is not None:
            stored["remainder"] = np.array([self.remainder.least, self.remainder.share])
        if self.correction is not None:
            raw = self.correction.centers * self.correction.scale + self.correction.mean
            stored["centers"] = _compact(raw)
            stored["weights"] = self.correction.weights
            stored["spread"] = np.stack([self.correction.mean, self.correction.scale])
            stored["length"] = np.array([self.correction.length])
        if self.sessions is not None and self.placed is not None:
            stored |= self.sessions.arrays()
            stored["placed"] = np.stack([self.placed.knots, self.placed.low, self.placed.high])
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
        sessions = Sessions.of_arrays(wide)
        placed = Interval(*wide["placed"]) if sessions else None
        least, most = wide["range"]
        remainder = Remainder(*wide["remainder"].tolist()) if "remainder" in wide else None
        return ArchitecturePredictor(
            space, style, linear, correction, Interval(*wide["interval"]), least, most, sessions, placed, remainder
        )


def _compact(values: Array) -> npt.NDArray[Any]:
    """Small whole numbers as bytes; anything else as it is."""
    rounded = np.round(values)
    whole = np.allclose(values, rounded, atol=1e-6) and rounded.min() >= 0 and rounded.max() <= 255
    return rounded.astype(np.uint8) if whole else values
