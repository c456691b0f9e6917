"""The kinds of learned predictors; each is a module that trains, evaluates and predicts for its data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.costmodel.datasets.table import Table
    from optc.costmodel.predictors import Card
    from optc.costmodel.training.run import Run

Array = npt.NDArray[np.float64]

KINDS: dict[str, str] = {
    "architectures": "optc.costmodel.architectures.kind",
    "energy": "optc.costmodel.power",
    "networks": "optc.costmodel.networks.kind",
    "gpu_operators": "optc.costmodel.gpu_operators.kind",
    "records": "optc.costmodel.records.kind",
    "kernels": "optc.costmodel.kernels.kind",
}


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of n rows, in the unit of its data set.

    Attributes:
        value: shape (n,), the expected measurement.
        low: shape (n,), where the 90% interval begins.
        high: shape (n,), where it ends.
        known: shape (n,), whether the row resembles what was trained on.
    """

    value: Array
    low: Array
    high: Array
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Evaluation:
    """Predictions beside the measurements of a file, for figures and plots.

    Attributes:
        ids: what names each row.
        measured: shape (n,).
        prediction: of the same rows.
        groups: what each row belongs to, for the error by kind; one label a row.
    """

    ids: Sequence[str]
    measured: Array
    prediction: Prediction
    groups: Sequence[str] = ()


class Kind(Protocol):
    """The functions of a kind's module.

    `adapt` and `suggest` are there where a kind can do that, and `export(card, target, part)`, which gives the ONNX
    model of one of a predictor's parts, where its features are rows of numbers.
    """

    def train(self, run: Run, data: Path) -> list[Card]:
        """Train what `run.config` says on the files under `data`; save and return the predictors."""

    def predict(self, card: Card, target: str, table: Table) -> Prediction:
        """Predict the rows of a CSV file that has the set's id column (or the columns that describe a row)."""

    def evaluate(self, card: Card, target: str, table: Table) -> Evaluation:
        """Predict the rows of a CSV file of the set that has measurements of `target`, and keep those."""


def load(name: str) -> Any:
    """The module of a kind. Raises UsageError when this version has none of that name."""
    if name not in KINDS:
        raise UsageError(f"no kind of predictor is called '{name}'", hint=f"one of {', '.join(KINDS)}")
    return cast(Kind, import_module(KINDS[name]))
