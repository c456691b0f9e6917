"""Trains the predictor of networks on boards; judges it on left-out families of networks and left-out boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel import metrics
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.ncnn_bench import BoardRuns
from optc.costmodel.networks import posterior
from optc.costmodel.networks.costs import Costs, Term, terms
from optc.costmodel.networks.population import Completion, complete, fit_population, most_telling
from optc.costmodel.networks.posterior import Class
from optc.costmodel.networks.predictor import (
    ADAPTED,
    TRAINED,
    Networks,
    Predictor,
    arrays_of,
    details_of,
    point,
)
from optc.costmodel.networks.runs import class_of, log_threads
from optc.costmodel.predictors import Card, read_card, save, trained_card
from optc.costmodel.training.run import Run

Array = npt.NDArray[np.float64]
DEFAULTS: dict[str, Any] = {"board_folds": 20, "anchors": 3}
ALL, ALONE, NEW_BOARDS = "all boards, unseen networks", "all boards, single unseen networks", "unseen boards"
_TAILS = (0.05, 0.95)
SPLIT = (
    "Each device: every family of networks (float and int8 together) in turn left out of all boards' data and then "
    "predicted; '{alone}': each network alone left out, so that one of its family may stay; '{boards}': in {folds} "
    "folds, the boards of a fold left out with all their runs, each run then predicted from its {anchors} most telling "
    "networks. Intervals of a row rest on the other families or boards."
)


@dataclass
class _Judged:
    """Held-out predictions, shape (runs, networks): logarithms' means and variances; NaN where there is none."""

    value: Array
    variance: Array

    def standardised(self, truth: Array) -> Array:
        return np.asarray((truth - self.value) / np.sqrt(self.variance))


def train(run: Run, data: BoardRuns, data_set: DataSet) -> list[Card]:
    """Train, judge and save. Returns the card."""
    options = run.config.options("model", DEFAULTS)
    run.bind(data.digest)
    found = {name: terms(network) for name, network in data.networks.items()}
    coefficients = list(dict.fromkeys(name for each in found.values() for term in each for name in term.weights))
    truth = np.log(data.latency)
    measured = [name for index, name in enumerate(found) if not np.isnan(truth[:, index]).all()]
    labels = sorted({term.label for name in measured for term in found[name]})
    costs = Costs.of(found, coefficients, labels)
    classes = [class_of(configuration) for configuration in data.runs]
    threads = np.array([log_threads(configuration) for configuration in data.runs])
    families = np.array([data.families.get(name, "") for name in found])
    boards = [configuration.device for configuration in data.runs]

    def without_networks(out: npt.NDArray[np.bool_]) -> Mapping[str, Any]:
        return _without_networks(costs, coefficients, labels, truth, classes, threads, out)

    nothing = np.full_like(truth, np.nan)
    by_network, alone, by_board = (_Judged(nothing.copy(), nothing.copy()) for _ in range(3))
    names = sorted(set(families.tolist()) - {""})
    fold_of = _folds(boards, options["board_folds"], run.config.seed)
    left_out = [(by_network, f"without {family}", families == family) for family in names]
    left_out += [(alone, f"without {name} alone", np.array(list(found)) == name) for name in measured]
    steps = len(left_out) + options["board_folds"]
    for number, (judged, unit, out) in enumerate(left_out):
        _merge(judged, run.unit(unit, lambda out=out: without_networks(out)))  # type: ignore[misc]
        run.progress("left out", number + 1, steps)
    for fold in range(options["board_folds"]):

        def without(fold: int = fold) -> Mapping[str, Any]:
            return _without_boards(
                costs, coefficients, found, labels, truth, classes, threads, fold_of == fold, options["anchors"]
            )

        _merge(by_board, run.unit(f"without boards {fold}", without))
        run.progress("left out", len(left_out) + fold + 1, steps)
    whole = fit_population(costs, coefficients, truth, classes, threads)
    class_names = np.array(classes)
    completions = {name: complete(truth[class_names == name]) for name in whole.classes}
    quantiles = {}
    for name in whole.classes:
        own = class_names == name
        for how, held in ((TRAINED, by_network), (ADAPTED, by_board)):
            quantiles[f"{name} {how}"] = _quantiles(held.standardised(truth)[own])
    networks = Networks(coefficients, labels, found, costs, whole.classes, completions, quantiles)
    predictor = Predictor(networks, data.runs, whole.boards, TRAINED)
    rows = {name: int((~np.isnan(truth[[b == name for b in boards]])).sum()) for name in dict.fromkeys(boards)}
    card = trained_card(
        run.config.name,
        data_set,
        rows,
        SPLIT.format(alone=ALONE, boards=NEW_BOARDS, folds=options["board_folds"], anchors=options["anchors"]),
        run.config.seed,
        _figures(truth, by_network, alone, by_board, class_names, np.array(boards), families, fold_of),
        {**details_of(predictor), "error_by_network": _errors(truth, by_network, class_names, list(found))},
    )
    folder = save(run.out, card, arrays_of(predictor))
    run.finish()
    return [read_card(folder)]


def _merge(into: _Judged, stored: Mapping[str, Array]) -> None:
    new = ~np.isnan(stored["value"])
    into.value[new], into.variance[new] = stored["value"][new], stored["variance"][new]


def _folds(boards: Sequence[str], folds: int, seed: int) -> npt.NDArray[np.int64]:
    names = sorted(set(boards))
    order = np.random.default_rng(seed).permutation(len(names))
    fold = {names[index]: place % folds for place, index in enumerate(order.tolist())}
    return np.array([fold[name] for name in boards])


def _without_networks(
    costs: Costs, coefficients: Sequence[str], labels: Sequence[str], truth: Array, classes: Sequence[str],
    threads: Array, out: npt.NDArray[np.bool_],
) -> Mapping[str, Any]:  # fmt: skip
    """Predictions of the left-out networks on all boards."""
    seen = truth.copy()
    seen[:, out] = np.nan
    population = fit_population(costs, coefficients, seen, classes, threads)
    value, variance = np.full_like(truth, np.nan), np.full_like(truth, np.nan)
    for row, board in enumerate(population.boards):
        found = posterior.predict(costs, board, population.classes[classes[row]].at(threads[row]), costs, len(labels))
        value[row, out], variance[row, out] = found[0][out], found[1][out]
    return {"value": value, "variance": variance}


def _without_boards(
    costs: Costs, coefficients: Sequence[str], found: Mapping[str, Sequence[Term]], labels: Sequence[str],
    truth: Array, classes: Sequence[str], threads: Array, out: npt.NDArray[np.bool_], anchors: int,
) -> Mapping[str, Any]:  # fmt: skip
    """Predictions of all but the anchors on left-out boards."""
    class_of_run = np.array(classes)
    kept = ~out
    population = fit_population(costs, coefficients, truth[kept], class_of_run[kept].tolist(), threads[kept])
    completions: dict[str, Completion] = {
        name: complete(truth[kept & (class_of_run == name)]) for name in population.classes
    }
    known: dict[str, Class] = population.classes
    networks = Networks(coefficients, labels, found, costs, known, completions, {})
    value, variance = np.full_like(truth, np.nan), np.full_like(truth, np.nan)
    for row in np.flatnonzero(out).tolist():
        name = classes[row]
        completion = completions[name]
        there = np.flatnonzero(~np.isnan(truth[row, completion.networks])).tolist()
        chosen = completion.networks[most_telling(completion, there, anchors)]
        given = np.full(truth.shape[1], np.nan)
        given[chosen] = truth[row, chosen]
        board = networks.adapt(given, name, threads[row])
        prior = known[name].at(threads[row])
        value[row], variance[row], _ = posterior.predict(costs, board, prior, costs, len(labels))
        value[row, chosen] = np.nan
    return {"value": value, "variance": variance}


def _quantiles(errors: Array) -> list[float]:
    return [float(q) for q in np.nanquantile(errors, _TAILS)]


def _figures(
    truth: Array, by_network: _Judged, alone: _Judged, by_board: _Judged, classes: npt.NDArray[np.str_],
    boards: npt.NDArray[np.str_], families: npt.NDArray[np.str_], fold_of: npt.NDArray[np.int64],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """The figures of each device, of all, and of unseen boards; for each class of boards as well."""
    groups = np.broadcast_to(families[None], truth.shape)
    folds = np.broadcast_to(fold_of[:, None], truth.shape)
    network = _intervals(truth, by_network, classes, groups)
    single = _intervals(truth, alone, classes, groups)
    board = _intervals(truth, by_board, classes, folds)
    found = {str(name): _evaluate(truth, network, boards == name) for name in np.unique(boards)}
    for what, judged in ((ALL, network), (ALONE, single), (NEW_BOARDS, board)):
        found[what] = _evaluate(truth, judged, np.ones(len(truth), bool))
        found |= {f"{what}, {name}": _evaluate(truth, judged, classes == name) for name in np.unique(classes)}
    return found


def _intervals(
    truth: Array, judged: _Judged, classes: npt.NDArray[np.str_], groups: npt.NDArray[Any]
) -> tuple[Array, Array, Array]:
    """Latencies and the ends of their intervals; those of a group rest on the errors of all other groups."""
    errors, deviation = judged.standardised(truth), np.sqrt(judged.variance)
    value = point(judged.value, judged.variance)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    for name in np.unique(classes):
        own = (classes == name)[:, None]
        for group in np.unique(groups):
            inside = own & (groups == group)
            others = np.where(own & (groups != group), errors, np.nan)
            if np.isnan(others).all():
                continue
            first, last = _quantiles(others)
            low[inside] = np.exp(judged.value[inside] + first * deviation[inside])
            high[inside] = np.exp(judged.value[inside] + last * deviation[inside])
    return value, np.fmin(low, value), np.fmax(high, value)


def _errors(
    truth: Array, judged: _Judged, classes: npt.NDArray[np.str_], networks: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The mean percentage error of each left-out network on boards of each class."""
    errors = 100.0 * np.abs(point(judged.value, judged.variance) / np.exp(truth) - 1.0)
    found: dict[str, dict[str, float]] = {}
    for index, name in enumerate(networks):
        for group in np.unique(classes).tolist():
            own = errors[classes == group, index]
            if not np.isnan(own).all():
                found.setdefault(name, {})[group] = round(float(np.nanmean(own)), 1)
    return found


def _evaluate(truth: Array, found: tuple[Array, Array, Array], runs: npt.NDArray[np.bool_]) -> dict[str, Any]:
    chosen = runs[:, None] & ~np.isnan(truth) & ~np.isnan(found[0])
    if not chosen.any():
        return {}
    return metrics.finite(metrics.evaluate(np.exp(truth[chosen]), *(part[chosen] for part in found)))
