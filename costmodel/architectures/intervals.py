"""Intervals that hold nine measurements in ten: quantiles of out-of-fold errors, by size of the prediction.

Split conformal prediction (Lei et al., "Distribution-free predictive inference for regression", 2018) within bins of
the prediction, with the errors of cross-validation in place of a calibration set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEVEL = 0.9
_PER_BIN, _MOST_BINS = 90, 8


@dataclass(frozen=True)
class Interval:
    """Offsets of the interval's ends from the prediction, in logarithms.

    Attributes:
        knots: logarithms of predictions, ascending, shape (k,).
        low: shape (k,), at the knots; linear in between.
        high: the same for the upper end.
    """

    knots: Array
    low: Array
    high: Array

    def ends(self, log_prediction: Array) -> tuple[Array, Array]:
        """Logarithms of both ends; the prediction lies inside."""
        low = np.interp(log_prediction, self.knots, self.low)
        high = np.interp(log_prediction, self.knots, self.high)
        return log_prediction + np.minimum(low, 0.0), log_prediction + np.maximum(high, 0.0)


def calibrate(log_prediction: Array, log_measured: Array, level: float = LEVEL) -> Interval:
    """The interval of a predictor from predictions of rows that it was not trained on."""
    order = np.argsort(log_prediction, kind="stable")
    errors = (log_measured - log_prediction)[order]
    bins = int(np.clip(len(order) // _PER_BIN, 1, _MOST_BINS))
    knots, low, high = [], [], []
    for part in np.array_split(np.arange(len(order)), bins):
        tail = min(0.5, (1.0 - level) / 2.0)
        reach = min(1.0, (1.0 - tail) * (1.0 + 1.0 / len(part)))
        knots.append(float(np.median(log_prediction[order[part]])))
        low.append(float(np.quantile(errors[part], 1.0 - reach)))
        high.append(float(np.quantile(errors[part], reach)))
    return Interval(np.array(knots), np.array(low), np.array(high))
