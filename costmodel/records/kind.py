"""Tables of measurements as a kind of predictor: rows are what the set's columns describe, targets are its devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optc.costmodel.datasets import dataset
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import Table
from optc.costmodel.kinds import Evaluation, Prediction
from optc.costmodel.predictors import Card
from optc.costmodel.records.description import Description
from optc.costmodel.records.predictor import RecordPredictor
from optc.costmodel.training.run import Run
from optc.errors import UsageError

if TYPE_CHECKING:
    import onnx

KIND = "records"


def train(run: Run, data: Path) -> list[Card]:
    """Train on all tables of the set. See Kind."""
    from optc.costmodel.records import training

    chosen = dataset.load(run.config.data_set)
    return training.train(run, chosen.read(data), chosen)


def predict(card: Card, target: str, table: Table) -> Prediction:
    """Predict the rows of a table that has the columns of one of the set's tables.

    Raises:
        DataError: a column is missing or a cell is damaged; it names file and row.
        UsageError: the target is not measured in this table of the set.
    """
    name, described = _described(card, table)
    return load(card, name, target).predict(described, target)


def evaluate(card: Card, target: str, table: Table) -> Evaluation:
    """Predict the rows of a table that were measured on `target`. Raises UsageError when there is none."""
    source = dataset.load(card.data_set)
    name, described = _described(card, table)
    if source.measured is None:
        raise UsageError(f"'{source.name}' does not say what was measured", where="--data")
    measured = source.measured(table, target)
    rows = np.flatnonzero(np.isfinite(measured))
    if not rows.size:
        raise UsageError(f"there is no measurement of '{target}'", where=str(table.path))
    prediction = load(card, name, target).predict(described.part(rows), target)
    names = table.columns.get(source.id_column) or [str(number) for number in range(table.rows)]
    return Evaluation([names[row] for row in rows.tolist()], measured[rows], prediction)


def load(card: Card, table: str, target: str) -> RecordPredictor:
    """The predictor of a table of the set for a target. Raises UsageError when there is none."""
    known = card.details["forests"]
    for key in (f"{table}/{target}", f"{table}/"):
        if key in known and (key != f"{table}/" or target in known[key]["words"]["target"]):
            return RecordPredictor.of(known[key], card.arrays(), key)
    raise UsageError(f"'{target}' has no measurements of the kind '{table}'", where="--target")


def _described(card: Card, table: Table) -> tuple[str, Description]:
    source: DataSet = dataset.load(card.data_set)
    if source.describe is None:
        raise UsageError(f"'{source.name}' describes no rows", where="--set")
    name, described = source.describe(table)
    return name, described


def export(card: Card, target: str, part: str) -> onnx.ModelProto:
    """The ONNX model of one table of the set; `scale` is the first guess of `Description`.

    Args:
        card: of the predictor.
        target: a device that the card names.
        part: the table; the only one by default.

    Raises:
        UsageError: there is no such table, or no measurement of the target in it.
    """
    from optc.costmodel.exporting import FEATURES, SCALE, Graph

    tables = sorted({key.partition("/")[0] for key in card.details["forests"]})
    if not part and len(tables) == 1:
        part = tables[0]
    if part not in tables:
        raise UsageError(f"'{part}' is no part of '{card.name}'", where="--part", hint=f"one of {', '.join(tables)}")
    predictor = load(card, part, target)
    graph = Graph()
    latency = graph.add("Mul", SCALE, graph.add("Exp", graph.forest(predictor.forest, FEATURES)))
    columns = [*predictor.encoding.numbers, *predictor.encoding.words]
    return graph.model(latency, columns, True, {"predictor": card.name, "target": target, "part": part})
