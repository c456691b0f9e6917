"""Times of GPU operators: a forest for each family says what multiple of the roofline an operator takes.

Two sets of forests: one for the GPUs that were measured, which sees what GPU it is; one for others, which sees only
figures relative to the GPU's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.gpu_operators import features
from optc.costmodel.gpu_operators.families import FAMILIES, Family
from optc.costmodel.gpu_operators.forest import Forest
from optc.costmodel.gpu_operators.specifications import Specifications
from optc.costmodel.kernels.intervals import Intervals
from optc.costmodel.kinds import Prediction

Array = npt.NDArray[np.float64]
SEEN, UNSEEN = "seen", "unseen"
_SLACK = 1e-6


@dataclass(frozen=True)
class Part:
    """What predicts one family on seen or on unseen GPUs.

    Attributes:
        forests: whose mean is the logarithm of the multiple of the roofline; with each, the features that it reads.
        intervals: factors from the prediction to the ends of its interval, by operator and device, operator, or `*`.
        lowest: of each feature that describes the shape, in the training data.
        highest: likewise.
    """

    forests: tuple[tuple[tuple[str, ...], Forest], ...]
    intervals: Intervals
    lowest: Mapping[str, float]
    highest: Mapping[str, float]

    def predict(self, family: Family, columns: Mapping[str, Array], device: str, sheet: Specifications) -> Prediction:
        """Times in ms of operators on one GPU."""
        found, roofline = features.describe(family, columns, [sheet] * len(columns["op"]))
        multiple = np.mean([forest.predict(features.matrix(found, names)) for names, forest in self.forests], axis=0)
        value = roofline * np.exp(multiple)
        low, high = self.intervals.of([self._group(family, int(op), device) for op in columns["op"]])
        known = np.ones(len(value), bool)
        for name in self.lowest:
            known &= (found[name] >= self.lowest[name] - _SLACK) & (found[name] <= self.highest[name] + _SLACK)
        return Prediction(value, value * low, value * high, known)

    def _group(self, family: Family, operator: int, device: str) -> str:
        name = family.operators[operator]
        return f"{name} {device}" if f"{name} {device}" in self.intervals.quantiles else name

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """The forests' arrays by name."""
        return {
            name: values
            for number, (_, forest) in enumerate(self.forests)
            for name, values in forest.arrays(f"{prefix}/{number}").items()
        }

    def details(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON."""
        return {
            "features": [list(names) for names, _ in self.forests],
            "intervals": {name: list(pair) for name, pair in self.intervals.quantiles.items()},
            "lowest": dict(self.lowest),
            "highest": dict(self.highest),
        }

    @staticmethod
    def of(details: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> Part:
        """What `details` and `arrays` gave."""
        forests = tuple(
            (tuple(names), Forest.of_arrays(arrays, f"{prefix}/{number}"))
            for number, names in enumerate(details["features"])
        )
        intervals = Intervals({name: (pair[0], pair[1]) for name, pair in details["intervals"].items()})
        return Part(forests, intervals, details["lowest"], details["highest"])


@dataclass(frozen=True)
class Predictor:
    """All families.

    Attributes:
        parts: by family and SEEN or UNSEEN.
        devices: data sheets of known GPUs by name.
        measured: families that were measured on each of them.
    """

    parts: Mapping[tuple[str, str], Part]
    devices: Mapping[str, Specifications]
    measured: Mapping[str, Sequence[str]]

    def predict(
        self, family: Family, columns: Mapping[str, Array], device: str, sheet: Specifications | None = None
    ) -> Prediction:
        """Times in ms.

        Args:
            family: of all operators.
            columns: what describes them.
            device: the GPU's name.
            sheet: its figures; by default, those that are known by its name.
        """
        part = self.part(family, device if sheet is None else "")
        return part.predict(family, columns, device, sheet or self.devices[device])

    def part(self, family: Family, device: str) -> Part:
        """What predicts a family on a GPU: by its name if it was measured, else what serves unseen ones."""
        return self.parts[family.name, SEEN if family.name in self.measured.get(device, ()) else UNSEEN]

    @staticmethod
    def of(details: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Predictor:
        """From a card's details and its arrays."""
        parts = {
            (name, side): Part.of(details["parts"][f"{name}/{side}"], arrays, f"{name}/{side}")
            for name in FAMILIES
            for side in (SEEN, UNSEEN)
        }
        devices = {name: Specifications.of(sheet, name) for name, sheet in details["devices"].items()}
        return Predictor(parts, devices, details["measured"])
