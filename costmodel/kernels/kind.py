"""Kernel predictors for the commands that train and judge: see `optc.costmodel.kinds.Kind`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.costmodel.datasets import cpu_kernels
from optc.costmodel.kernels.machine import machine_class, target_from_json
from optc.costmodel.kernels.predictor import KIND, KernelPredictor
from optc.costmodel.kernels.schema import digest
from optc.costmodel.kernels.store import models_of, read_part, states_of
from optc.costmodel.kernels.table import KernelTable, kernel_table
from optc.costmodel.kernels.text import cross_validate_text
from optc.costmodel.kernels.training import Sizes, figures, train_predictor, without
from optc.costmodel.kinds import Evaluation, Prediction
from optc.costmodel.predictors import Card, save
from optc.costmodel.state import usual
from optc.costmodel.training.team import team
from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.costmodel.training.run import Run

SHARES_STEPS = True  # among the processes of a team
SPLIT: Mapping[str, Any] = {"folds": 5, "without": ""}
MODEL: Mapping[str, Any] = {"trees": 200, "rank_trees": 60, "epochs": 120, "text_epochs": 12}


def train(run: Run, data: Path) -> list[Card]:
    """Train the predictor of the machine whose rows the store holds most of.

    The configuration's table `[split]` has `folds`, and `without`: names of models, separated by spaces, whose classes
    of workloads the predictor must not see. `[model]` has `trees`, `rank_trees`, `epochs`, and `text_epochs`: of the
    text predictor that is judged beside it (0: none).

    Raises:
        OptcError: the store holds nothing to train on.
    """
    import pyarrow.compute as compute

    split, model = run.config.options("split", SPLIT), run.config.options("model", MODEL)
    rows = cpu_kernels.read(data)
    run.bind(digest(sorted(rows.column("key").to_pylist()))[:24])
    counts = compute.value_counts(rows.column("fingerprint")).to_pylist()
    machine = max(counts, key=lambda each: (each["counts"], each["values"]))["values"]
    rows = rows.filter(compute.equal(rows.column("fingerprint"), machine))
    reference = target_from_json(rows.column("target").to_pylist()[0])
    everything = kernel_table(rows)
    table = without(everything, _classes(data, split["without"].split(), run))
    sizes = Sizes(model["trees"], model["rank_trees"], model["epochs"], split["folds"])
    predictor, held = train_predictor(table, reference, run.config.seed, sizes, run.progress, run.unit)
    noted = states_of(cpu_kernels.stores(data)).get(machine, [])
    predictor = replace(predictor, rates=usual(noted))
    text = None
    if model["text_epochs"]:
        text = cross_validate_text(
            table, run.config.seed, sizes.folds, model["text_epochs"], run.progress, run.unit
        )  # fmt: skip
    low, high = predictor.point_intervals.of(table.templates.tolist())
    judged = figures(held, (low, high), text)
    name = machine_class(reference)
    card = Card(
        name=run.config.name,
        kind=KIND,
        data_set=cpu_kernels.NAME,
        targets=(name,),
        source=cpu_kernels.SET.upstream,
        licence=cpu_kernels.SET.licence,
        rows={name: len(table)},
        date=time.strftime("%Y-%m-%d"),
        split=f"{sizes.folds} folds that never divide a class of workloads"
        + (f"; no class of {split['without']}" if split["without"] else ""),
        seed=run.config.seed,
        figures={name: judged["point"]},
        details={
            **predictor.details(),
            "figures": judged,
            "workloads": len(np.unique(table.keys)),
            "classes": len(np.unique(table.classes)),
            "without": split["without"],
            "median_noise": float(np.median(table.noise)),
        },
    )
    folder = team().once(lambda: save(run.out, card, predictor.arrays()))
    run.finish()
    return [Card(**{**card.__dict__, "folder": folder})]


@dataclass(frozen=True)
class KernelRows:
    """Measured rows in the place of a CSV file's: what `predict` and `evaluate` take.

    Attributes:
        path: of the store or its part.
        table: the rows, with the vocabulary of the predictor that is asked.
    """

    path: Path
    table: KernelTable

    @property
    def columns(self) -> dict[str, list[str]]:
        """What names the rows."""
        return {cpu_kernels.SET.id_column: self.table.ids.tolist()}

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.table)


def read_rows(card: Card, path: Path) -> KernelRows:
    """The measured rows of a store, of the stores in a folder, or of one part of a store.

    Raises:
        OptcError: a file is missing, damaged or foreign, or holds no row that this version understands.
    """
    rows = cpu_kernels.read(path) if path.is_dir() else read_part(path)
    return KernelRows(path, kernel_table(rows, KernelPredictor.of_card(card).vocabulary))


def predict(card: Card, target: str, rows: KernelRows) -> Prediction:
    """Seconds of the kernels of some rows, each with its schedule; see Kind."""
    predictor, table = KernelPredictor.of_card(card), rows.table
    value = table.roofline * np.exp(predictor.point.predict(table.features))
    low, high = predictor.point_intervals.of(table.templates.tolist())
    known = predictor.knows(table.workload) & np.array([predictor.vocabulary.knows(t) for t in table.templates])
    return Prediction(value, value * low, value * high, known)


def evaluate(card: Card, target: str, rows: KernelRows) -> Evaluation:
    """The rows' predictions beside their measurements, in groups of one template; see Kind."""
    table = rows.table
    return Evaluation(table.ids.tolist(), table.seconds, predict(card, target, rows), table.templates.tolist())


def _classes(data: Path, models: Sequence[str], run: Run) -> set[str]:
    """The classes of workloads that some models consist of, under any pipeline.

    Raises:
        UsageError: the stores do not know a model.
    """
    known = models_of(cpu_kernels.stores(data))
    for name in models:
        if name not in known:
            hint = f"they know {', '.join(sorted(known))}" if known else "optc costmodel collect --models notes them"
            raise UsageError(
                f"the stores know no model '{name}'", where=f"{run.config.path}: [split] without", hint=hint
            )
    return {kind for name in models for pairs in known[name].values() for _, kind in pairs}
