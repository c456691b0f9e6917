"""GPU operators as a kind of predictor: rows are operators with their shapes, targets are GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optc.costmodel.datasets import dataset
from optc.costmodel.datasets.table import Table
from optc.costmodel.gpu_operators.families import FAMILIES, Family, columns_of, family_of
from optc.costmodel.gpu_operators.predictor import Predictor
from optc.costmodel.gpu_operators.specifications import Specifications, read_specifications
from optc.costmodel.kinds import Evaluation, Prediction
from optc.costmodel.predictors import Card
from optc.costmodel.training.run import Run
from optc.errors import UsageError

if TYPE_CHECKING:
    import onnx

SHEETS = (".toml", ".json")


def train(run: Run, data: Path) -> list[Card]:
    """Train the forests of all families. See Kind."""
    from optc.costmodel.gpu_operators import training

    chosen = dataset.load(run.config.data_set)
    return training.train(run, chosen.read(data), chosen)


def predict(card: Card, target: str, table: Table) -> Prediction:
    """Predict operators.

    Args:
        card: of the predictor.
        target: a GPU that the card names, or the path of a file with a GPU's figures (`read_specifications`).
        table: the columns of one family (`families.FAMILIES`).

    Raises:
        UsageError: the GPU is unknown or its description is incomplete.
        DataError: a row describes no operator.
    """
    family = family_of(table)
    return _predict(card, target, family, table)


def evaluate(card: Card, target: str, table: Table) -> Evaluation:
    """Predict the rows of a table that were measured on `target`. Raises UsageError when there is none."""
    rows = [row for row, name in enumerate(table.text("device")) if name == target]
    if not rows:
        raise UsageError(f"there is no measurement on '{target}'", where=str(table.path))
    family = family_of(table)
    measured = table.numbers("latency_ms", positive=True)[rows]
    prediction = _predict(card, target, family, table, rows)
    operators = table.columns.get("op", [family.name] * table.rows)
    ids = [" ".join(table.columns[name][row] for name in family.columns) for row in rows]
    return Evaluation(ids, measured, prediction, [operators[row] for row in rows])


def accepts(card: Card, target: str) -> bool:
    """Whether a target that the card does not name can be predicted: a file with a GPU's figures."""
    return Path(target).suffix in SHEETS


def _predict(card: Card, target: str, family: Family, table: Table, rows: Sequence[int] | None = None) -> Prediction:
    predictor = Predictor.of(card.details, card.arrays())
    columns = columns_of(table, family)
    if rows is not None:
        chosen = np.array(rows, np.int64)
        columns = {name: values[chosen] for name, values in columns.items()}
    sheet: Specifications | None = None
    if target not in predictor.devices:
        if not accepts(card, target):
            raise UsageError(
                f"no GPU is called '{target}'",
                where="--target",
                hint=f"one of {', '.join(card.targets)}, or a .toml file with a GPU's figures",
            )
        sheet = read_specifications(Path(target))
    return predictor.predict(family, columns, target, sheet)


def export(card: Card, target: str, part: str) -> onnx.ModelProto:
    """The ONNX model of one family on a GPU.

    Args:
        card: of the predictor.
        target: a GPU that the card names.
        part: a family: its features are those of `features.describe`, `scale` is the roofline in ms.

    Raises:
        UsageError: the GPU or the family is unknown.
    """
    from optc.costmodel.exporting import FEATURES, SCALE, Graph

    if part not in FAMILIES:
        raise UsageError(f"'{part}' is no part of '{card.name}'", where="--part", hint=f"one of {', '.join(FAMILIES)}")
    chosen = Predictor.of(card.details, card.arrays()).part(FAMILIES[part], target)
    graph = Graph()
    columns = list(dict.fromkeys(name for names, _ in chosen.forests for name in names))
    sums = []
    for names, forest in chosen.forests:
        rows = FEATURES
        if list(names) != columns:
            rows = graph.add("Gather", rows, graph.constant([columns.index(name) for name in names]), axis=1)
        sums.append(graph.forest(forest, rows))
    total = sums[0]
    for other in sums[1:]:
        total = graph.add("Add", total, other)
    mean = graph.add("Div", total, graph.constant(float(len(sums))))
    latency = graph.add("Mul", SCALE, graph.add("Exp", mean))
    return graph.model(latency, columns, True, {"predictor": card.name, "target": target, "part": part})
