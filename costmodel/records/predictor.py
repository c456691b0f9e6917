"""A forest over the columns of a table: the factor from a first guess to the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.gpu_operators.forest import Forest
from optc.costmodel.kernels.intervals import Intervals
from optc.costmodel.kinds import Prediction
from optc.costmodel.records.description import Description
from optc.costmodel.records.encoding import TARGET, Encoding

_SLACK = 1e-6


@dataclass(frozen=True)
class RecordPredictor:
    """Predicts the rows of one table, on one target or on all that share the forest.

    Attributes:
        forest: whose sum is log(time / first guess).
        encoding: of the rows.
        intervals: factors from a prediction to the ends of its interval, by target.
        lowest: of each numeric column in the training data.
        highest: likewise.
    """

    forest: Forest
    encoding: Encoding
    intervals: Intervals
    lowest: Mapping[str, float]
    highest: Mapping[str, float]

    def predict(self, described: Description, target: str) -> Prediction:
        """Times in ms on one target."""
        rows = with_target(described, target) if TARGET in self.encoding.words else described
        value = rows.scale * np.exp(self.forest.predict(self.encoding.matrix(rows)))
        low, high = self.intervals.of([target] * len(value))
        known = self.encoding.familiar(rows)
        for name in self.lowest:
            inside = (rows.numbers[name] >= self.lowest[name] - _SLACK) & (
                rows.numbers[name] <= self.highest[name] + _SLACK
            )
            known &= inside | np.isnan(rows.numbers[name])
        return Prediction(value, value * np.minimum(low, 1.0), value * np.maximum(high, 1.0), known)

    def details(self) -> dict[str, Any]:
        """Everything but the forest, as JSON."""
        return {
            "numbers": list(self.encoding.numbers),
            "words": {name: dict(known) for name, known in self.encoding.words.items()},
            "intervals": {name: list(pair) for name, pair in self.intervals.quantiles.items()},
            "lowest": dict(self.lowest),
            "highest": dict(self.highest),
        }

    @staticmethod
    def of(details: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> RecordPredictor:
        """From `details` and the forest's arrays."""
        intervals = Intervals({name: (pair[0], pair[1]) for name, pair in details["intervals"].items()})
        encoding = Encoding(tuple(details["numbers"]), details["words"])
        forest = Forest.of_arrays(arrays, prefix)
        return RecordPredictor(forest, encoding, intervals, details["lowest"], details["highest"])


def with_target(described: Description, target: str) -> Description:
    """The rows with the target's name as one more word."""
    words = {**described.words, TARGET: [target] * len(described.scale)}
    return Description(described.numbers, words, described.scale)
