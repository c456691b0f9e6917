"""An evaluation as plain data: all figures, regrets, calibration, and the error by group."""

from __future__ import annotations

from typing import Any

import numpy as np

from optc.costmodel import metrics
from optc.costmodel.kinds import Evaluation


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of an evaluation.

    Returns:
        What `Metrics` holds; `top_1_regret` and `top_5_regret` of choosing the fastest row by prediction; `unknown`,
        the share of rows flagged as unlike the training data; `by_group`, rows and median error of each group.
    """
    measured, prediction = evaluation.measured, evaluation.prediction
    found: dict[str, Any] = metrics.evaluate(measured, prediction.value, prediction.low, prediction.high).to_dict()
    found["top_1_regret"] = metrics.regret(measured, prediction.value)
    found["top_5_regret"] = metrics.regret(measured, prediction.value, 5)
    found["unknown"] = float((~prediction.known).mean())
    errors = metrics.absolute_percentage_errors(measured, prediction.value)
    groups = np.array(evaluation.groups)
    found["by_group"] = {
        str(name): {"rows": int((groups == name).sum()), "median_ape": float(np.median(errors[groups == name]))}
        for name in (np.unique(groups) if groups.size else ())
    }
    return found
