"""Train the kernel predictor on measured rows, and say how good it is on classes of workloads that it did not see."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.kernels.familiarity import familiarity
from optc.costmodel.kernels.fitting import EPOCHS, RANK_TREES, TREES, fit_perceptrons, fit_ranking_trees, fit_trees
from optc.costmodel.kernels.intervals import conformal
from optc.costmodel.kernels.labels import anchor_labels, patterns, types_in
from optc.costmodel.kernels.machine import machine_class
from optc.costmodel.kernels.predictor import FEWEST_ALIKE, Blend, KernelPredictor
from optc.costmodel.kernels.table import Floats, KernelTable, folds
from optc.costmodel.kernels.units import Unit, computed
from optc.costmodel.metrics import evaluate, mean_regret
from optc.targets.target import Target

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Sizes:
    """How large the models are and how long they train."""

    trees: int = TREES
    rank_trees: int = RANK_TREES
    epochs: int = EPOCHS
    folds: int = 5


@dataclass(frozen=True)
class HeldOut:
    """Predictions of rows by models that saw no row of their class; residuals as in `KernelTable.residual`.

    Attributes:
        table: the rows.
        point: shape (n,), residuals by trees and perceptrons together.
        trees: by the trees alone.
        perceptrons: by the perceptrons alone.
        ranking: the score that orders the schedules of a workload.
        best: the fastest row of each workload.
        group: shape (workloads,), residuals of `best` from its workload features alone.
    """

    table: KernelTable
    point: Floats
    trees: Floats
    perceptrons: Floats
    ranking: Floats
    best: KernelTable
    group: Floats


def cross_validate(table: KernelTable, seed: int, sizes: Sizes, progress: Progress, unit: Unit = computed) -> HeldOut:
    """Train as often as there are folds; classes are never divided between training and test.

    Args:
        table: the rows.
        seed: of the division and the training.
        sizes: of the models, and how many folds.
        progress: told (what, done, total).
        unit: computes a fold's predictions, or knows them from a run that was stopped.
    """
    fold = folds(table.classes, sizes.folds, seed)
    best = table.best()
    best_fold = fold[_first_rows(table, best)]
    trees, perceptrons, scores = np.zeros(len(table)), np.zeros(len(table)), np.zeros(len(table))
    group = np.zeros(len(best))
    for number in range(sizes.folds):
        progress("cross-validating", number, sizes.folds)
        train, test, apart = table.take(np.flatnonzero(fold != number)), fold == number, best_fold == number

        def compute(train: KernelTable = train, test: Any = test, apart: Any = apart) -> dict[str, Any]:
            point, rows = fit_point(train, seed, sizes), table.features[test]
            return {
                "trees": point.parts[0].predict(rows),
                "perceptrons": point.parts[1].predict(rows),
                "ranking": fit_ranking(train, point, seed, sizes).predict(rows),
                "group": fit_group(train.best(), seed, sizes).predict(best.workload[apart]),
            }

        made = unit(f"fold{number}", compute)
        trees[test], perceptrons[test], scores[test] = made["trees"], made["perceptrons"], made["ranking"]
        group[apart] = made["group"]
    return HeldOut(table, (trees + perceptrons) / 2, trees, perceptrons, scores, best, group)


def train_predictor(
    table: KernelTable, reference: Target, seed: int, sizes: Sizes, progress: Progress, unit: Unit = computed
) -> tuple[KernelPredictor, HeldOut]:
    """The predictor trained on all rows, with intervals from cross-validation; arguments as for `cross_validate`."""
    held = cross_validate(table, seed, sizes, progress, unit)
    best = table.best()
    labels = np.array(anchor_labels(best.workload))

    def compute() -> dict[str, Any]:
        point = fit_point(table, seed, sizes)
        progress("training", 1, 3)
        ranking = fit_ranking(table, point, seed, sizes)
        progress("training", 2, 3)
        group = fit_group(best, seed, sizes)
        return {**group.arrays("group"), **point.arrays("point"), **ranking.arrays("ranking")}

    progress("training", 0, 3)
    arrays = unit("predictor", compute)
    usual = {name: float(np.median(best.residual[labels == name])) for name in sorted(set(labels.tolist()))}
    predictor = KernelPredictor(
        Blend.of_arrays(arrays, "group"),
        Blend.of_arrays(arrays, "point"),
        Blend.of_arrays(arrays, "ranking"),
        table.vocabulary,
        conformal(best.residual - held.group, labels),
        conformal(table.residual - held.point, table.templates),
        familiarity(best.workload, best.classes, seed),
        {"*": float(np.median(best.residual)), **usual},
        float(np.quantile(np.concatenate(Blend.of_arrays(arrays, "group").opinions(best.workload)).std(axis=0), 0.95)),
        dict(Counter(patterns(best.workload))),
        machine_class(reference),
        reference,
        len(table),
        measured_types(best),
    )
    return predictor, held


def measured_types(best: KernelTable) -> tuple[str, ...]:
    """The element types that occur in several measured workloads."""
    counts = Counter(name for text in best.texts.tolist() for name in types_in(text))
    return tuple(sorted(name for name, count in counts.items() if count >= FEWEST_ALIKE))


def fit_point(table: KernelTable, seed: int, sizes: Sizes) -> Blend:
    """Trees and perceptrons for the time of one schedule."""
    return _fit_blend(table, table.features, seed, sizes)


def fit_group(best: KernelTable, seed: int, sizes: Sizes) -> Blend:
    """Trees and perceptrons for the time of the best schedule."""
    return _fit_blend(best, best.workload, seed, sizes)


def _fit_blend(table: KernelTable, rows: Floats, seed: int, sizes: Sizes) -> Blend:
    """Both regressors for the residuals of a table, from some of its features."""
    return Blend((
        fit_trees(rows, table.residual, weights=weights_of(table), seed=seed, trees=sizes.trees),
        fit_perceptrons(rows, table.residual, table.keys, seed=seed, epochs=sizes.epochs),
    ))  # fmt: skip


def fit_ranking(table: KernelTable, point: Blend, seed: int, sizes: Sizes) -> Blend:
    """What orders schedules: the perceptrons of `point`, which saw pairs, with trees for the ranks."""
    ranking = fit_ranking_trees(table.features, table.seconds, table.keys, seed=seed, trees=sizes.rank_trees)
    spread = np.std(ranking.predict(table.features)) or 1.0
    scaled = type(ranking)(
        ranking.features, ranking.borders, ranking.leaves, ranking.bias, ranking.scale * RANK_SHARE / float(spread)
    )
    return Blend((scaled, point.parts[1]))


RANK_SHARE = 0.1  # the standard deviation of the ranks' part, beside residuals in logarithms


def weights_of(table: KernelTable) -> Floats:
    """Rows count by how surely they were measured."""
    return 1.0 / (1.0 + (np.minimum(table.noise, 1.0) / 0.05) ** 2) ** 0.5


def _first_rows(table: KernelTable, best: KernelTable) -> npt.NDArray[np.int64]:
    """For each row of `best` some row of `table` with the same workload."""
    first: dict[str, int] = {}
    for number, key in enumerate(table.keys.tolist()):
        first.setdefault(key, number)
    return np.array([first[key] for key in best.keys.tolist()], np.int64)


def figures(
    held: HeldOut, intervals: tuple[Floats, Floats] | None = None, text: Floats | None = None
) -> dict[str, Any]:
    """The held-out figures for a card.

    Args:
        held: of `cross_validate`.
        intervals: factors to the ends of `point`'s intervals; None leaves the coverage out.
        text: log(seconds) by the text predictor, of the same rows; None leaves it out.
    """
    table = held.table
    seconds, predicted = table.seconds, table.roofline * np.exp(held.point)
    bounds = (None, None) if intervals is None else (predicted * intervals[0], predicted * intervals[1])
    choices = {
        key: rows for key, rows in rows_by_workload(table).items() if len(rows) > 1
    }  # fmt: skip

    def lost(score: Floats, k: int) -> float:
        return mean_regret({key: (seconds[rows], score[rows]) for key, rows in choices.items()}, k)

    best = held.best
    by_text = {}
    if text is not None:
        judged = _judged(seconds, np.exp(text))
        by_text = {"text": {**judged, **{f"choice_top{k}": lost(text, k) for k in (1, 3, 5)}}}
    return {
        "point": _judged(seconds, predicted, *bounds),
        "trees": _judged(seconds, table.roofline * np.exp(held.trees)),
        "perceptrons": _judged(seconds, table.roofline * np.exp(held.perceptrons)),
        **by_text,
        "group": _judged(best.seconds, best.roofline * np.exp(held.group)),
        "roofline": _judged(best.seconds, best.roofline),
        "choice": {
            "workloads": len(choices),
            **{f"top{k}": lost(held.ranking, k) for k in (1, 3, 5)},
            **{f"analytical_top{k}": lost(table.estimate, k) for k in (1, 3, 5)},
        },
        "by_template": {
            name: _judged(seconds[table.templates == name], predicted[table.templates == name])
            for name in np.unique(table.templates).tolist()
        },
    }


def _judged(
    measured: Floats, predicted: Floats, low: Floats | None = None, high: Floats | None = None
) -> dict[str, Any]:
    """The figures as JSON, which knows no NaN: a rank correlation of equal times is None."""
    figures = evaluate(measured, predicted, low, high).to_dict()
    return {name: None if value is not None and math.isnan(value) else value for name, value in figures.items()}


def rows_by_workload(table: KernelTable) -> dict[str, npt.NDArray[np.int64]]:
    """The rows of each workload."""
    order = np.argsort(table.keys, kind="stable")
    names, starts = np.unique(table.keys[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))


def without(table: KernelTable, classes: Collection[str]) -> KernelTable:
    """The rows of other classes."""
    return table.take(np.flatnonzero(~np.isin(table.classes, list(classes))))
