"""Networks on boards as a kind of predictor: rows are networks (by name, or an ncnn graph), targets are boards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from optc.costmodel import metrics, predictors
from optc.costmodel.datasets import dataset
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import DataError, Table
from optc.costmodel.kinds import Evaluation, Prediction
from optc.costmodel.networks.costs import Term, terms
from optc.costmodel.networks.ncnn_param import Network, read_param
from optc.costmodel.networks.population import most_telling
from optc.costmodel.networks.predictor import (
    ADAPTED,
    Predictor,
    arrays_of,
    details_of,
    predictor_of,
)
from optc.costmodel.networks.runs import PROCESSORS, Configuration, class_of, configurations, log_threads
from optc.costmodel.predictors import Card
from optc.costmodel.training.run import Run
from optc.errors import UsageError

KIND = "networks"
GRAPH_SUFFIX = ".param"


def train(run: Run, data: Path) -> list[Card]:
    """Train on all boards of the set. See Kind."""
    from optc.costmodel.networks import training

    chosen = dataset.load(run.config.data_set)
    return training.train(run, chosen.read(data), chosen)


def predict(card: Card, target: str, table: Table) -> Prediction:
    """Predict the networks of a table.

    Args:
        card: of the predictor.
        target: a board.
        table: the column `model` names networks of the set, or `.param` files (paths relative to the table). The
            columns `num_threads`, `powersave`, `gpu_device` and `run_id`, where they are, say how they were run; else
            the processor with most of its threads counts.

    Raises:
        DataError: a network is neither; it names file and row.
    """
    predictor = load(card)
    runs, of_row = configurations(table, target)
    asked = _terms_of_rows(predictor, table)
    return predictor.predict([runs[run] for run in of_row], asked)


def predict_network(card: Card, target: str, network: Network, how: Configuration | None = None) -> Prediction:
    """Predict one graph on a board. Raises ModelError when its layers do not fit each other."""
    return load(card).predict([how or Configuration(target)], [terms(network)])


def evaluate(card: Card, target: str, table: Table) -> Evaluation:
    """Predict the rows of a table that were measured on `target`. Raises UsageError when there is none."""
    from optc.costmodel.datasets.ncnn_bench import measured_latency

    latency = measured_latency(table)
    devices = table.columns.get("device", [target] * table.rows)
    known = set(load(card).networks.terms)
    names = table.text("model")
    rows = [
        row
        for row in range(table.rows)
        if devices[row] == target and not np.isnan(latency[row]) and (names[row] in known or _is_graph(names[row]))
    ]
    if not rows:
        raise UsageError(f"there is no measurement on '{target}'", where=str(table.path))
    part = Table(table.path, {name: [cells[row] for row in rows] for name, cells in table.columns.items()})
    return Evaluation([names[row] for row in rows], latency[rows], predict(card, target, part),
                      [names[row] for row in rows])  # fmt: skip


def adapt(source: DataSet, target: str, samples: Table, references: Sequence[str], out: Path) -> Card:
    """Make the predictor of a new board from a few networks' latencies.

    Args:
        source: the set whose networks were measured.
        target: the board's name from now on.
        samples: the columns `model` and `latency_ms`, and where they are those that say how it was run.
        references: not used: what boards have in common rests on all of them.
        out: the folder that gets the predictor's folder.

    Raises:
        DataError: a network is unknown or a cell is damaged; it names file and row.
        UsageError: references are given.
    """
    if references:
        raise UsageError(f"boards of '{source.name}' are adapted to from all of them", where="--reference")
    base = _base(source)
    latency = samples.numbers("latency_ms", positive=True)
    names = samples.text("model")
    place = {name: index for index, name in enumerate(base.networks.terms)}
    for row, name in enumerate(names):
        if name not in place:
            raise samples.error(row, f"'{name}' is no network of '{source.name}'", "model")
    runs, of_row = configurations(samples, target)
    if not runs:
        raise DataError("there is no sample", where=str(samples.path), hint=_hint(source, target))
    boards = []
    for run, configuration in enumerate(runs):
        measured = np.full(len(place), np.nan)
        for row in np.flatnonzero(np.array(of_row) == run).tolist():
            measured[place[names[row]]] = np.log(latency[row])
        boards.append(base.networks.adapt(measured, class_of(configuration), log_threads(configuration)))
    adapted = Predictor(base.networks, runs, boards, ADAPTED)
    found = adapted.predict([runs[run] for run in of_row], [base.networks.terms[name] for name in names])
    figures = metrics.finite(metrics.evaluate(latency, found.value, found.low, found.high))
    styles = {target: ", ".join(sorted({class_of(run) for run in runs}))}
    card = predictors.adapted_card(source, target, len(names), figures, {**details_of(adapted), "styles": styles})
    return predictors.read_card(predictors.save(out, card, arrays_of(adapted)))


def suggest(
    source: DataSet, target: str, count: int, references: Sequence[str], table: Table | None
) -> tuple[list[str], list[int], list[tuple[str, ...]]]:
    """The networks to measure on a new board, the most telling first.

    Args:
        source: the set.
        target: the new board.
        count: how many.
        references: not used.
        table: the candidates' column `model` (default: all that most boards measured); where its first row has a
            `gpu_device` of 0 or more, graphics processors count instead of processors.

    Returns:
        Their names, their rows among the candidates, and of all candidates what they are.
    """
    base = _base(source)
    runs = configurations(table, target)[0] if table is not None else []
    completion = base.networks.completions[class_of(runs[0]) if runs else PROCESSORS]
    every = list(base.networks.terms)
    measured = [every[network] for network in completion.networks.tolist()]
    names = table.text("model") if table is not None else measured
    for row, name in enumerate(names):
        if table is not None and name not in measured:
            raise table.error(row, f"'{name}' was measured on too few boards", "model")
    usable = [measured.index(name) for name in names if completion.shares[measured.index(name)] >= _COMMON]
    chosen = [names.index(measured[place]) for place in most_telling(completion, usable, count)]
    return [names[row] for row in chosen], chosen, [_summary(base.networks.terms[name]) for name in names]


_COMMON = 0.4  # of the runs measured a network that is suggested


def read_graph(path: str) -> Network:
    """The network of a `.param` file."""
    return read_param(Path(path))


def load(card: Card) -> Predictor:
    """The predictor of a card."""
    return predictor_of(card.details, card.arrays())


def _base(source: DataSet) -> Predictor:
    """The shipped or trained predictor of a set that new boards are adapted from."""
    for card in predictors.cards():
        if card.data_set == source.name and card.kind == KIND and card.details["how"] != ADAPTED:
            return load(card)
    raise UsageError(f"no predictor was trained on '{source.name}'", where="--set")


def _is_graph(name: str) -> bool:
    return name.endswith(GRAPH_SUFFIX)


def _terms_of_rows(predictor: Predictor, table: Table) -> list[Sequence[Term]]:
    found: dict[str, Sequence[Term]] = dict(predictor.networks.terms)
    asked = []
    for row, name in enumerate(table.text("model")):
        if name not in found and _is_graph(name):
            found[name] = terms(read_param(table.path.parent / name))
        if name not in found:
            hint = f"one of {', '.join(predictor.networks.terms)}, or a {GRAPH_SUFFIX} file"
            raise DataError(f"'{name}' is no network of the set", where=f"{table.path}: row {row + 2}, column 'model'",
                            hint=hint)  # fmt: skip
        asked.append(found[name])
    return asked


def _summary(found: Sequence[Term]) -> tuple[str, ...]:
    return tuple(sorted({term.label for term in found}))


def _hint(source: DataSet, target: str) -> str:
    return f"optc costmodel suggest --set {source.name} --target {target!r} -n 3"
