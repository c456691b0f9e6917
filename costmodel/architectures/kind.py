"""The kind `architectures`: training, judging and using predictors of whole networks by their encodings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optc.costmodel import metrics, predictors
from optc.costmodel.architectures import adaptation, design
from optc.costmodel.architectures.adaptation import AdaptedPredictor, Prior
from optc.costmodel.architectures.fitting import fit
from optc.costmodel.architectures.measurements import Measurements, measured_column
from optc.costmodel.architectures.predictor import ArchitecturePredictor
from optc.costmodel.architectures.space import Codes, Space, load_space
from optc.costmodel.datasets import dataset
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import DataError, Table
from optc.costmodel.kinds import Evaluation, Prediction
from optc.costmodel.predictors import Card
from optc.costmodel.training.run import Run
from optc.errors import UsageError

if TYPE_CHECKING:
    import onnx

KIND = "architectures"
SPLIT = {"held_out": 0.25, "samples": 900, "spread": False}
MODEL = {"folds": 5}
_FEWEST = 20
_FEWEST_SAMPLES = 4
OTHERS = 20  # samples that are no networks, of those that a set has


def train(run: Run, data: Path) -> list[Card]:
    """Train one predictor for each target of the set; see Kind.

    `[split]`: `held_out`, the share of groups that judge; `samples` of each target that train (0: all others),
    networks or not; `spread`, whether they are spread evenly over the order of measurement, where that is known.
    `[model]`: `folds` of the cross-validation.
    """
    split, model = run.config.options("split", SPLIT), run.config.options("model", MODEL)
    source = dataset.load(run.config.data_set)
    measurements: Measurements = source.read(data)
    if not measurements.latency:
        raise UsageError(f"the set '{source.name}' has no measurements", where=str(run.config.path))
    space = load_space(measurements.space)
    run.bind(measurements.digest())
    held_out, order = divide(space, measurements.codes, float(split["held_out"]), run.config.seed)
    arrays: dict[str, npt.NDArray[Any]] = {}
    rows: dict[str, int] = {}
    figures: dict[str, dict[str, float | int | None]] = {}
    styles: dict[str, str] = {}
    drifts: list[str] = []
    for number, target in enumerate(measurements.latency):
        run.progress("fitting", number, len(measurements.latency))
        latency = measurements.latency[target]
        measured, regular = np.isfinite(latency), space.regular(measurements.codes)
        usable = measured & regular
        others = order[measured[order] & ~regular[order]][:OTHERS]
        trained = order[usable[order] & ~held_out[order]]
        count = split["samples"] - len(others) if split["samples"] else 0
        trained = spread(trained, measurements.places if split["spread"] else None, count)
        judged = np.flatnonzero(usable & held_out)
        if len(trained) < _FEWEST or len(judged) < _FEWEST:
            raise DataError(
                f"'{target}' has too few measurements",
                where=source.name,
                why=f"{len(trained)} to train and {len(judged)} to judge; {_FEWEST} of each are needed",
            )
        is_rate = target in measurements.rates

        def compute(
            rows: npt.NDArray[np.int64] = trained,
            values: npt.NDArray[np.float64] = 1.0 / latency if is_rate else latency,
            rest: npt.NDArray[np.int64] = others,
        ) -> dict[str, Any]:
            places = None if measurements.places is None else measurements.places[rows]
            codes, beside = measurements.codes[rows], (measurements.codes[rest], values[rest])
            fitted = fit(space, codes, values[rows], int(model["folds"]), run.config.seed, places, beside)
            return {"style": np.array(fitted.style), **fitted.arrays()}

        stored = run.unit(target, compute)
        styles[target] = str(stored.pop("style"))
        arrays |= {f"{target}/{name}": value for name, value in stored.items()}
        predictor = ArchitecturePredictor.of_arrays(space, styles[target], stored)
        places = None if measurements.places is None else measurements.places[judged]
        found = _oriented(predictor.predict(measurements.codes[judged], places), is_rate)
        if predictor.sessions is not None:
            drifts.append(target)
        figures[target] = metrics.finite(metrics.evaluate(latency[judged], found.value, found.low, found.high))
        rows[target] = len(trained) + len(others)
        run.scalars.add("within_10", float(figures[target]["within_10"] or 0.0), number)
    card = predictors.trained_card(
        run.config.name,
        source,
        rows,
        f"{split['held_out']:.0%} of the classes of equal networks judge; none of their networks trains",
        run.config.seed,
        figures,
        {"space": space.name, "styles": styles, "rates": sorted(measurements.rates), "drifts": drifts},
    )
    folder = predictors.save(run.out, card, arrays)
    run.finish()
    return [predictors.read_card(folder)]


def predict(card: Card, target: str, table: Table) -> Prediction:
    """Predict the architectures of a table; see Kind."""
    space = load_space(card.details["space"])
    source = dataset.load(card.data_set)
    return predict_codes(card, target, space.read(table, source.id_column), _places(source, table))


def predict_codes(card: Card, target: str, codes: Codes, places: npt.NDArray[np.float64] | None = None) -> Prediction:
    """Predict architectures that are coded already; `places` as for `ArchitecturePredictor.predict`."""
    predictor = load(card, target)
    drifts = isinstance(predictor, ArchitecturePredictor) and places is not None
    found = predictor.predict(codes, places) if drifts else predictor.predict(codes)  # type: ignore[call-arg]
    return _oriented(found, target in card.details["rates"])


def _places(source: DataSet, table: Table) -> npt.NDArray[np.float64] | None:
    """Where a table's rows stand in the order of the set's measurement, if it says so."""
    return table.numbers(source.order_column) if source.order_column in table.columns else None


def evaluate(card: Card, target: str, table: Table) -> Evaluation:
    """Predict the measured architectures of a table; see Kind."""
    source, space = dataset.load(card.data_set), load_space(card.details["space"])
    measured = (source.measured or measured_column)(table, target)
    codes = space.read(table, source.id_column)
    kept = np.flatnonzero(np.isfinite(measured) & space.regular(codes))
    if not kept.size:
        raise DataError(f"there is no measurement of '{target}'", where=str(table.path))
    ids = identifiers(table, source)
    places = _places(source, table)
    prediction = predict_codes(card, target, codes[kept], None if places is None else places[kept])
    return Evaluation([ids[row] for row in kept.tolist()], measured[kept], prediction)


def find(target: str, space: Space, data_set: str | None = None) -> Card:
    """The predictor of a target for the architectures of a space. Raises UsageError when there is none."""
    known = [card for card in predictors.cards() if card.kind == KIND and card.details["space"] == space.name]
    for card in known:
        if target in card.targets and (data_set or card.data_set) == card.data_set:
            return card
    targets = sorted({name for card in known for name in card.targets})
    what = f"no predictor of '{space.name}' architectures knows the target '{target}'"
    raise UsageError(what, where="--target", hint=f"one of {', '.join(targets)}")


def identifiers(table: Table, source: DataSet) -> Sequence[str]:
    """What names the rows: the id column, or their numbers where there is none."""
    return table.columns.get(source.id_column) or [str(number) for number in range(table.rows)]


def load(card: Card, target: str) -> ArchitecturePredictor | AdaptedPredictor:
    """The predictor of a target from its folder."""
    space = load_space(card.details["space"])
    if card.details.get("adapted"):
        return AdaptedPredictor.of_arrays(space, card.arrays())
    stored = {
        name.removeprefix(f"{target}/"): value
        for name, value in card.arrays().items()
        if name.rpartition("/")[0] == target
    }
    return ArchitecturePredictor.of_arrays(space, card.details["styles"][target], stored)


def adapt(source: DataSet, target: str, samples: Table, references: Sequence[str], out: Path) -> Card:
    """Make the predictor of a new device from a few measurements and the shipped predictors of the same space.

    Args:
        source: the set whose architectures were measured.
        target: the device's name from now on.
        samples: a table with the set's id column (or the columns that describe an architecture) and `latency_ms`.
        references: shipped targets to learn from; all but `target` when empty.
        out: the folder that gets the predictor's folder.

    Raises:
        DataError: there are too few samples, or one is no network, or a cell is damaged.
        UsageError: a reference is unknown.
    """
    space, prior = space_and_prior(source, target, references)
    latency = samples.numbers("latency_ms", positive=True)
    codes = space.read(samples, source.id_column)
    for row in np.flatnonzero(~space.regular(codes))[:1]:
        raise samples.error(int(row), "this architecture does not connect its input with its output")
    if len(codes) < _FEWEST_SAMPLES:
        what = f"{len(codes)} samples are too few; {_FEWEST_SAMPLES} are needed, 10 are good"
        raise DataError(
            what, where=str(samples.path), hint=f"optc costmodel suggest --set {source.name} --target {target}"
        )
    adapted = adaptation.adapt(space, prior, typical_codes(space), codes, latency)
    folder = predictors.save(out, _adapted_card(source, space, target, codes, latency, adapted), adapted.arrays())
    return predictors.read_card(folder)


def _adapted_card(
    source: DataSet,
    space: Space,
    target: str,
    codes: Codes,
    latency: npt.NDArray[np.float64],
    adapted: AdaptedPredictor,
) -> Card:
    style = max(space.styles, key=lambda name: sum(adapted.share[[each.style == name for each in adapted.found]]))
    found = adapted.predict(codes)
    return predictors.adapted_card(
        source,
        target,
        len(codes),
        metrics.finite(metrics.evaluate(latency, found.value, found.low, found.high)),
        {"space": space.name, "adapted": True, "styles": {target: style}, "rates": []},
    )


def suggest(
    source: DataSet, target: str, count: int, references: Sequence[str], table: Table | None
) -> tuple[list[str], list[int], Codes]:
    """The architectures to measure on a new device, the most telling first.

    Args:
        source: the set whose space is searched.
        target: the new device; a shipped predictor of this name is not used.
        count: how many.
        references: as for `adapt`.
        table: candidates; the whole space, or a random part of it, when None.

    Returns:
        Their names, their rows, and the codes of all candidates.
    """
    space, prior = space_and_prior(source, target, references)
    codes = space.candidates() if table is None else space.read(table, source.id_column)
    names = [str(row) for row in range(len(codes))] if table is None else identifiers(table, source)
    rows = design.suggest(space, prior, codes, count)
    return [names[row] for row in rows], rows, codes


def space_and_prior(source: DataSet, target: str, references: Sequence[str]) -> tuple[Space, Prior]:
    """The space of a set, and what the shipped predictors of that space have in common.

    Raises:
        UsageError: no predictor was trained on the set, or a reference is unknown.
    """
    cards = [card for card in predictors.cards() if card.kind == KIND and not card.details.get("adapted")]
    space = next((card.details["space"] for card in cards if card.data_set == source.name), None)
    if space is None:
        raise UsageError(f"no predictor was trained on '{source.name}'", where="--set")
    known = {name: card for card in reversed(cards) if card.details["space"] == space for name in card.targets}
    for name in references:
        if name not in known:
            raise UsageError(f"no predictor knows the target '{name}'", where="--reference", hint=", ".join(known))
    rates = {name for card in cards for name in card.details["rates"]}
    wanted = references or [name for name in known if name != target and name not in rates]
    loaded = [load(known[name], name) for name in wanted if name != target]
    found = load_space(space)
    fitted = [each for each in loaded if isinstance(each, ArchitecturePredictor)]
    return found, adaptation.learn_prior(fitted, typical_codes(found))


def typical_codes(space: Space) -> Codes:
    """Networks of the space on which devices are compared."""
    codes = space.candidates()
    codes = codes[space.regular(codes)]
    return codes[:: max(1, len(codes) // 4000)]


def _oriented(found: Prediction, is_rate: bool) -> Prediction:
    """A prediction of times, as rates where the set has rates."""
    return Prediction(1.0 / found.value, 1.0 / found.high, 1.0 / found.low, found.known) if is_rate else found


def spread(rows: npt.NDArray[np.int64], places: npt.NDArray[np.float64] | None, count: int) -> npt.NDArray[np.int64]:
    """Some rows, spread evenly over the order of measurement, so that each part of the session has its samples.

    Args:
        rows: to choose from, in random order.
        places: of all rows, as in Measurements; None: the first are taken.
        count: how many; 0 or more than there are: all.
    """
    if not 0 < count < len(rows):
        return rows
    if places is None:
        return rows[:count]
    parts = np.array_split(np.argsort(places[rows], kind="stable"), count)
    return np.array([rows[part.min()] for part in parts])


def divide(
    space: Space, codes: Codes, held_out: float, seed: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which rows judge, by groups, and a random order of all rows."""
    if not 0.0 < held_out < 1.0:
        raise UsageError(f"held_out = {held_out} in [split] is not between 0 and 1")
    labels, inverse = np.unique(space.groups(codes), return_inverse=True)
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    chosen[generator.permutation(len(labels))[: max(1, round(held_out * len(labels)))]] = True
    return chosen[inverse.reshape(-1)], generator.permutation(len(codes))


def export(card: Card, target: str, part: str) -> onnx.ModelProto:
    """The ONNX model of a target, for the mean of all sessions; its features are those of the space.

    Args:
        card: of the predictor.
        target: a device that the card names.
        part: must be empty: a predictor of architectures has one.

    Raises:
        UsageError: the predictor was adapted (an average of several styles), or `part` is given.
    """
    from optc.costmodel.exporting import FEATURES, Graph

    predictor = load(card, target)
    if not isinstance(predictor, ArchitecturePredictor) or part:
        what = f"'{card.name}' has no part '{part}'" if part else "an adapted predictor averages several models"
        raise UsageError(what, where="--part" if part else "--target")
    graph = Graph()
    linear, correction = predictor.linear, predictor.correction
    total = graph.add("MatMul", FEATURES, graph.constant(linear.coefficients[1:]))
    total = graph.add("Max", graph.add("Add", total, graph.constant(linear.coefficients[0])),
                      graph.constant(linear.floor))  # fmt: skip
    logarithm = graph.add("Log", total)
    if correction is not None:
        centred = graph.add("Sub", FEATURES, graph.constant(correction.mean))
        rows = graph.add("Div", centred, graph.constant(correction.scale))
        squares = graph.add("ReduceSumSquare", rows, graph.constant([1]), keepdims=1)
        product = graph.add("MatMul", rows, graph.constant(-2.0 * correction.centers.T))
        apart = graph.add("Add", graph.add("Add", squares, product), graph.constant((correction.centers**2).sum(1)))
        exponent = graph.add("Mul", graph.add("Max", apart, graph.constant(0.0)),
                             graph.constant(-0.5 / correction.length**2))  # fmt: skip
        learned = graph.add("MatMul", graph.add("Exp", exponent), graph.constant(correction.weights))
        logarithm = graph.add("Add", logarithm, learned)
    if predictor.sessions is not None:
        logarithm = graph.add("Add", logarithm, graph.constant(predictor.sessions.mean))
    latency = graph.add("Exp", logarithm)
    if target in card.details["rates"]:
        latency = graph.add("Reciprocal", latency)
    columns = [str(number) for number in range(len(linear.coefficients) - 1)]
    about = {"predictor": card.name, "target": target, "space": predictor.space.name, "style": predictor.style}
    return graph.model(latency, columns, False, about)
