"""Drift of a measuring session: devices warm up, throttle and change clocks while a set is measured, row after row.

The rows of a set were measured in the order of its index, so neighbours in that order share what the device's state did
to them. The drift is the mode of the neighbours' residuals, by kernel-weighted location under Welsch's loss, shrunk to
nothing where there are few. It belongs to the measurements, not to the networks: it is applied to rows that say when
they were measured, and every other network is predicted for the mean of all sessions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.architectures.regression import Array, welsch

_REACHES, _EXTENTS, _PRIORS = (15.0, 30.0, 60.0, 120.0, 250.0), (np.inf, 1.0), (0.25, 1.0)
_WIDTHS = (0.4, 0.3, 0.2, 0.15, 0.1, 0.1, 0.1, 0.1)  # of the loss: begins wide, lest it settles on a stray neighbour
_WINDOW = 100  # samples on each side that count
_BATCH = 1024


@dataclass(frozen=True)
class Kernel:
    """How far a session reaches.

    Attributes:
        reach: rows of the set over which the influence of a neighbour falls by e.
        extent: the same in log latency, standard deviations of the samples: what slows large networks may spare small
            ones. Infinite: all alike.
        prior: how many neighbours the assumption of no drift weighs.
    """

    reach: float
    extent: float
    prior: float


@dataclass(frozen=True)
class Sessions:
    """The drift around each measured row.

    Attributes:
        kernel: how far neighbours matter.
        places: shape (m,), of the samples in the order of measurement.
        sizes: shape (m,), their predicted log latencies, in standard deviations.
        residuals: shape (m,), what the prediction misses in the logarithm.
        unit: the standard deviation of log latencies.
        mean: drift of the samples on average.
    """

    kernel: Kernel
    places: Array
    sizes: Array
    residuals: Array
    unit: float
    mean: float

    def offsets(self, places: Array, log_latency: Array) -> Array:
        """What to add to log latencies of rows measured at `places`, shape (n,)."""
        sizes = log_latency / self.unit
        order = np.argsort(self.places, kind="stable")
        known = _Samples(self.places[order], self.sizes[order], self.residuals[order])
        parts = [
            known.drift(self.kernel, places[start : start + _BATCH], sizes[start : start + _BATCH])
            for start in range(0, len(places), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The parameters by name."""
        kernel = self.kernel
        return {
            "session_kernel": np.array([kernel.reach, kernel.extent, kernel.prior, self.unit, self.mean]),
            "session_rows": np.stack([self.places, self.sizes, self.residuals]),
        }

    @staticmethod
    def of_arrays(stored: dict[str, npt.NDArray[Any]]) -> Sessions | None:
        """What `arrays` gave, or None when there is none."""
        if "session_rows" not in stored:
            return None
        reach, extent, prior, unit, mean = stored["session_kernel"].tolist()
        places, sizes, residuals = stored["session_rows"]
        return Sessions(Kernel(reach, extent, prior), places, sizes, residuals, unit, mean)


def fit_sessions(kernel: Kernel, places: Array, log_latency: Array, residuals: Array) -> Sessions:
    """The drift of samples from what a prediction misses, all of shape (m,)."""
    mean = float(own_offsets(kernel, places, log_latency, residuals).mean())
    return replace(placed_sessions(kernel, places, log_latency, residuals), mean=mean)


def placed_sessions(kernel: Kernel, places: Array, log_latency: Array, residuals: Array) -> Sessions:
    """`fit_sessions`, for rows that say their place alone: without the mean."""
    unit = _unit(log_latency)
    return Sessions(kernel, places, log_latency / unit, residuals, unit, 0.0)


def own_offsets(kernel: Kernel, places: Array, log_latency: Array, residuals: Array) -> Array:
    """The drift at each sample as its neighbours alone tell it, shape (m,)."""
    order = np.argsort(places, kind="stable")
    sizes = log_latency / _unit(log_latency)
    known = _Samples(places[order], sizes[order], residuals[order])
    found = np.empty(len(places))
    found[order] = known.drift(kernel, known.places, known.sizes, alone=True)
    return found


def kernels() -> list[Kernel]:
    """Those that compete."""
    return [Kernel(*values) for values in product(_REACHES, _EXTENTS, _PRIORS)]


def _unit(log_latency: Array) -> float:
    return max(float(np.std(log_latency)), 1e-9)


@dataclass(frozen=True)
class _Samples:
    """Measured rows in the order of their places; the names are those of `Sessions`."""

    places: Array
    sizes: Array
    residuals: Array

    def drift(self, kernel: Kernel, places: Array, sizes: Array, alone: bool = False) -> Array:
        """The mode of the neighbours' residuals; `alone` leaves out each sample itself, where they are asked about."""
        middle = np.searchsorted(self.places, places)
        near = middle[:, None] + np.arange(-_WINDOW, _WINDOW)[None]
        inside = (near >= 0) & (near < len(self.places))
        near = np.clip(near, 0, len(self.places) - 1)
        apart = np.abs(places[:, None] - self.places[near]) / kernel.reach
        if np.isfinite(kernel.extent):
            apart += 0.5 * ((sizes[:, None] - self.sizes[near]) / kernel.extent) ** 2
        nearness = np.exp(-apart) * inside
        if alone:
            nearness[near == np.arange(len(places))[:, None]] = 0.0
        residuals = self.residuals[near]
        found = np.zeros(len(places))
        for width in _WIDTHS:
            weights = nearness * welsch(residuals - found[:, None], width)
            found = (weights * residuals).sum(1) / (weights.sum(1) + kernel.prior)
        return found
