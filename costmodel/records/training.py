"""Trains forests over tables; judges them on classes of rows that they did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel import metrics
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.gpu_operators.forest import Forest, boost
from optc.costmodel.kernels.intervals import conformal
from optc.costmodel.predictors import Card, save, trained_card
from optc.costmodel.records.description import Array, Description, Part, Records
from optc.costmodel.records.encoding import TARGET, Encoding, learn
from optc.costmodel.records.predictor import RecordPredictor
from optc.costmodel.training.run import Run

DEFAULTS: dict[str, Any] = {"folds": 5, "rounds": 300, "leaves": 31, "rate": 0.07, "least_rows": 10}
SPLIT = (
    "{folds} folds of classes of rows that compute the same, each judged by trees that saw the others; intervals rest "
    "on the errors in the other folds; the shipped trees learned from all rows"
)
_FEWEST_CLASSES = 20


@dataclass(frozen=True)
class _Rows:
    """The measured rows that one forest learns."""

    described: Description
    latency: Array
    targets: npt.NDArray[np.str_]
    classes: npt.NDArray[np.str_]

    @property
    def factor(self) -> Array:
        """What the forest learns."""
        return np.log(self.latency / self.described.scale)

    def part(self, rows: npt.NDArray[np.int64]) -> _Rows:
        return _Rows(self.described.part(rows), self.latency[rows], self.targets[rows], self.classes[rows])


def train(run: Run, data: Records, data_set: DataSet) -> list[Card]:
    """Train, judge and save. Returns the card."""
    options = run.config.options("trees", DEFAULTS)
    run.bind(data.digest)
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, Any] = {}
    counts: dict[str, int] = {}
    judged: dict[str, list[tuple[Array, Array, Array, Array]]] = {}
    jobs = [(name, key, rows) for name, part in data.parts.items() for key, rows in _jobs(part)]
    for number, (name, key, rows) in enumerate(jobs):
        run.progress("forests", number, len(jobs))
        prefix = f"{name}/{key}"
        fold = _folds(rows.classes, options["folds"], run.config.seed)
        guess = np.empty(len(rows.latency))
        for out in range(options["folds"]):
            seen, unseen = rows.part(np.flatnonzero(fold != out)), rows.part(np.flatnonzero(fold == out))
            forest, encoding = _forest(run, f"{prefix} without {out}", seen, options)
            guess[fold == out] = forest.predict(encoding.matrix(unseen.described))
        errors = rows.factor - guess
        forest, encoding = _forest(run, prefix, rows, options)
        numbers = rows.described.numbers
        predictor = RecordPredictor(
            forest,
            encoding,
            conformal(errors, rows.targets),
            {name: float(np.nanmin(values)) for name, values in numbers.items()},
            {name: float(np.nanmax(values)) for name, values in numbers.items()},
        )
        arrays |= forest.arrays(prefix)
        details[prefix] = predictor.details()
        for target, found in _judge(rows, guess, fold).items():
            judged.setdefault(target, []).append(found)
            counts[target] = counts.get(target, 0) + len(found[0])
    figures = {
        target: metrics.finite(metrics.evaluate(*(np.concatenate(column) for column in zip(*pieces, strict=True))))
        for target, pieces in sorted(judged.items())
    }
    split = SPLIT.format(folds=options["folds"])
    card = trained_card(run.config.name, data_set, counts, split, run.config.seed, figures, {"forests": details})
    folder = save(run.out, card, arrays)
    run.finish()
    return [replace(card, folder=folder)]


def _jobs(part: Part) -> list[tuple[str, _Rows]]:
    """What each forest of a table learns: all targets together, or each by itself."""
    classes = np.array(part.classes)
    found = []
    for target, latency in part.latency.items():
        rows = np.flatnonzero(np.isfinite(latency) & np.isfinite(part.described.scale))
        if len(np.unique(classes[rows])) >= _FEWEST_CLASSES:
            described = part.described.part(rows)
            found.append((target, _Rows(described, latency[rows], np.full(len(rows), target), classes[rows])))
    if not part.shared or not found:
        return found
    every = [rows for _, rows in found]
    words = {name: [cell for rows in every for cell in rows.described.words[name]] for name in part.described.words} | {
        TARGET: [target for target, rows in found for _ in rows.latency]
    }
    described = Description(
        {name: np.concatenate([rows.described.numbers[name] for rows in every]) for name in part.described.numbers},
        words,
        np.concatenate([rows.described.scale for rows in every]),
    )
    columns = [np.concatenate([getattr(rows, name) for rows in every]) for name in ("latency", "targets", "classes")]
    return [("", _Rows(described, *columns))]


def _forest(run: Run, key: str, rows: _Rows, options: Mapping[str, Any]) -> tuple[Forest, Encoding]:
    encoding, inputs = learn(rows.described, rows.factor, rows.classes.tolist())
    size = (options["rounds"], options["leaves"], options["rate"])

    def compute() -> Mapping[str, Any]:
        return boost(inputs, rows.factor, size, run.config.seed, min_data_in_leaf=options["least_rows"]).arrays(
            "forest"
        )

    return Forest.of_arrays(run.unit(key, compute), "forest"), encoding


def _folds(classes: npt.NDArray[np.str_], count: int, seed: int) -> npt.NDArray[np.int64]:
    labels, inverse = np.unique(classes, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(labels)) % count)[inverse.reshape(-1)]


def _judge(rows: _Rows, guess: Array, fold: npt.NDArray[np.int64]) -> dict[str, tuple[Array, Array, Array, Array]]:
    """(measured, predicted, low, high) of each target."""
    errors = rows.factor - guess
    value = rows.described.scale * np.exp(guess)
    low, high = np.empty_like(value), np.empty_like(value)
    for number in np.unique(fold):
        inside = fold == number
        groups: Sequence[str] = rows.targets[inside].tolist()
        first, last = conformal(errors[~inside], rows.targets[~inside]).of(groups)
        low[inside] = value[inside] * np.minimum(first, 1.0)
        high[inside] = value[inside] * np.maximum(last, 1.0)
    found = {}
    for target in np.unique(rows.targets).tolist():
        own = rows.targets == target
        found[target] = (rows.latency[own], value[own], low[own], high[own])
    return found
