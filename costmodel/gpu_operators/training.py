"""Trains the predictor of GPU operators: gradient-boosted trees on the logarithm of the multiple of a first guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel import metrics
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.neusight_gpu_ops import GpuOperators
from optc.costmodel.gpu_operators import features
from optc.costmodel.gpu_operators.families import FAMILIES, Family, columns_of
from optc.costmodel.gpu_operators.forest import Forest, boost
from optc.costmodel.gpu_operators.predictor import SEEN, UNSEEN, Part
from optc.costmodel.kernels.intervals import OTHERS, Intervals, conformal
from optc.costmodel.predictors import Card, save, trained_card
from optc.costmodel.training.run import Run

Array = npt.NDArray[np.float64]

DEFAULTS: dict[str, Any] = {
    "held_out": 0.15,
    "gemm_rounds": 600, "conv_rounds": 600, "vector_rounds": 300, "leaves": 127, "rate": 0.05,
    "transfer_rounds": 150, "transfer_leaves": 31, "transfer_rate": 0.07, "transfer_rows": 30_000,
    "transfer_weight": 5.0,
}  # fmt: skip
_COARSE_LEAVES = 8
# Of an unknown GPU, what has least percentage error lies below the median; coarse trees with random thresholds do not
# cling to the figures of the few GPUs, fine ones know the shapes: their mean is better than either.
_CAUTIOUS: dict[str, Any] = {"objective": "quantile", "alpha": 0.4}
SPLIT = (
    "Seen GPUs: {share:.0%} of the shapes of each operator, drawn by a hash of the shape, on all GPUs alike; the "
    "shipped trees then learned from all rows. Unseen GPUs ('unseen: NAME'): the trees saw no row of that GPU, nor of "
    "other GPUs with its chip."
)


@dataclass(frozen=True)
class _Rows:
    """One family's measurements."""

    family: Family
    described: dict[str, Array]
    roofline: Array
    latency: Array
    operators: npt.NDArray[np.str_]
    devices: npt.NDArray[np.str_]
    held_out: npt.NDArray[np.bool_]
    published_test: npt.NDArray[np.bool_]

    @property
    def target(self) -> Array:
        """What the forests learn."""
        return np.log(self.latency / self.roofline)


def train(run: Run, data: GpuOperators, data_set: DataSet) -> list[Card]:
    """Train, judge and save. Returns the card."""
    options = run.config.options("trees", DEFAULTS)
    run.bind(data.digest)
    arrays: dict[str, npt.NDArray[Any]] = {}
    parts: dict[str, Any] = {}
    judged: dict[str, list[tuple[Array, Array, Array, Array]]] = {}
    rows_of: dict[str, int] = {}
    measured: dict[str, list[str]] = {}
    done, total = 0, 2 * len(FAMILIES)
    for family in FAMILIES.values():
        rows = _rows(family, data, options["held_out"], run.config.seed)
        for name, count in zip(*np.unique(rows.devices, return_counts=True), strict=True):
            rows_of[str(name)] = rows_of.get(str(name), 0) + int(count)
            measured.setdefault(str(name), []).append(family.name)
        for side, make in ((SEEN, _seen), (UNSEEN, _unseen)):
            part, judgements = make(run, rows, options)
            arrays |= part.arrays(f"{family.name}/{side}")
            parts[f"{family.name}/{side}"] = part.details()
            for name, judgement in judgements.items():
                judged.setdefault(name, []).append(judgement)
            done += 1
            run.progress("families", done, total)
    figures = {
        name: metrics.finite(metrics.evaluate(*(np.concatenate(column) for column in zip(*pieces, strict=True))))
        for name, pieces in sorted(judged.items())
    }
    card = trained_card(
        run.config.name,
        data_set,
        rows_of,
        SPLIT.format(share=options["held_out"]),
        run.config.seed,
        figures,
        {
            "parts": parts,
            "devices": {name: asdict(sheet) for name, sheet in data.devices.items()},
            "measured": measured,
        },
        tuple(data.devices),
    )
    folder = save(run.out, card, arrays)
    run.finish()
    return [replace(card, folder=folder)]


def _rows(family: Family, data: GpuOperators, share: float, seed: int) -> _Rows:
    table = data.tables[family.name]
    columns = columns_of(table, family)
    devices = np.array(table.text("device"))
    described, roofline = features.describe(family, columns, [data.devices[name] for name in devices.tolist()])
    shapes = np.stack([columns[name] for name in ("op", *family.columns)], axis=1).astype(np.int64)
    unique, inverse = np.unique(shapes, axis=0, return_inverse=True)
    drawn = np.array([_hash(f"{seed} {family.name} {shape.tolist()}") < share for shape in unique])
    source = table.columns.get("src", ["train"] * table.rows)
    return _Rows(
        family,
        described,
        roofline,
        table.numbers("latency_ms", positive=True),
        np.array([family.operators[int(op)] for op in columns["op"]]),
        devices,
        drawn[inverse.reshape(-1)],
        np.array(source) == "test",
    )


def _hash(text: str) -> float:
    return int.from_bytes(sha256(text.encode()).digest()[:6], "big") / 2**48


def _seen(run: Run, rows: _Rows, options: Mapping[str, Any]) -> tuple[Part, dict[str, Any]]:
    names = list(rows.described)
    size = (options[f"{rows.family.name}_rounds"], options["leaves"], options["rate"])
    key = f"{rows.family.name} {SEEN}"
    inputs = features.matrix(rows.described, names)
    held = rows.held_out
    trial = _forest(run, f"{key} held out", inputs[~held], rows.target[~held], size, run.config.seed)
    guess = np.log(rows.roofline[held]) + trial.predict(inputs[held])
    intervals = _intervals(guess, rows, held)
    final = _forest(run, key, inputs, rows.target, size, run.config.seed)
    part = Part(((tuple(names), final),), intervals, *_ranges(rows))
    return part, _judged(guess, rows, held, "")


def _unseen(run: Run, rows: _Rows, options: Mapping[str, Any]) -> tuple[Part, dict[str, Any]]:
    names = list(rows.described)
    inputs = features.matrix(rows.described, names)
    # All of the published test shapes, which are those of real networks, and some of the random ones.
    random = np.random.default_rng(run.config.seed).permutation(len(rows.latency))
    order = np.sort(random[np.argsort(~rows.published_test[random], kind="stable")][: options["transfer_rows"]])
    weights = np.where(rows.published_test, options["transfer_weight"], 1.0)
    fine = (options["transfer_rounds"], options["transfer_leaves"], options["transfer_rate"])
    coarse = (options["transfer_rounds"], _COARSE_LEAVES, options["transfer_rate"])

    def forests(key: str, train: npt.NDArray[np.int64]) -> tuple[Forest, ...]:
        given = (inputs[train], rows.target[train])
        seed, weight = run.config.seed, weights[train]
        return (
            _forest(run, f"{key} coarse", *given, coarse, seed, weight, **_CAUTIOUS, extra_trees=True),
            _forest(run, f"{key} fine", *given, fine, seed, weight, **_CAUTIOUS),
        )

    guess = np.full(len(rows.latency), np.nan)
    for device in np.unique(rows.devices).tolist():
        out = rows.devices == device
        same_chip = np.array([_chip(name) == _chip(device) for name in rows.devices.tolist()])
        found = forests(f"{rows.family.name} without {device}", order[~same_chip[order]])
        guess[out] = np.log(rows.roofline[out]) + np.mean([forest.predict(inputs[out]) for forest in found], axis=0)
    chips = np.array([_chip(name) for name in rows.devices.tolist()])
    intervals = _of_any_gpu(np.log(rows.latency) - guess, rows.operators, chips)
    final = forests(f"{rows.family.name} {UNSEEN}", order)
    part = Part(tuple((tuple(names), forest) for forest in final), intervals, *_ranges(rows))
    return part, _judged(guess, rows, np.ones(len(guess), bool), "unseen: ")


def _forest(
    run: Run, key: str, inputs: npt.NDArray[np.float32], target: Array, size: tuple[int, int, float], seed: int,
    weights: Array | None = None, **others: Any,
) -> Forest:  # fmt: skip
    def compute() -> Mapping[str, Any]:
        return boost(inputs, target, size, seed, weights, **others).arrays("forest")

    return Forest.of_arrays(run.unit(key, compute), "forest")


def _intervals(guess: Array, rows: _Rows, chosen: npt.NDArray[np.bool_]) -> Intervals:
    errors = np.log(rows.latency[chosen]) - guess
    operators, devices = rows.operators[chosen], rows.devices[chosen]
    found = dict(conformal(errors, operators).quantiles)
    pairs = np.char.add(np.char.add(operators, " "), devices)
    found |= {name: pair for name, pair in conformal(errors, pairs).quantiles.items() if name != OTHERS}
    return Intervals(found)


def _of_any_gpu(errors: Array, operators: npt.NDArray[np.str_], chips: npt.NDArray[np.str_]) -> Intervals:
    """Intervals for a GPU that may be as unlike the others as any of them: they hold those of each left-out chip."""
    found: dict[str, tuple[float, float]] = {}
    for chip in np.unique(chips).tolist():
        own = chips == chip
        for name, (low, high) in conformal(errors[own], operators[own]).quantiles.items():
            before = found.get(name, (low, high))
            found[name] = (min(low, before[0]), max(high, before[1]))
    return Intervals(found)


def _judged(guess: Array, rows: _Rows, chosen: npt.NDArray[np.bool_], prefix: str) -> dict[str, Any]:
    """(measured, predicted, low, high) of held-out rows by device; intervals from the other half of the rows.

    For unseen GPUs the halves are GPUs: an interval comes from the errors on all the others.
    """
    value, truth = np.exp(guess), rows.latency[chosen]
    devices, operators = rows.devices[chosen], rows.operators[chosen]
    low, high = np.empty_like(value), np.empty_like(value)
    folds: Sequence[Any] = np.unique(devices).tolist() if prefix else [0, 1]
    fold_of = devices if prefix else np.arange(len(value)) % 2
    for fold in folds:
        inside = fold_of == fold
        if prefix:
            other = np.array([_chip(name) != _chip(fold) for name in devices.tolist()])
        else:
            other = ~inside
        errors = np.log(truth[other]) - guess[other]
        if prefix:
            chips = np.array([_chip(name) for name in devices[other].tolist()])
            first, last = _of_any_gpu(errors, operators[other], chips).of(operators[inside].tolist())
        else:
            groups = np.char.add(np.char.add(operators, " "), devices)
            first, last = conformal(errors, groups[other]).of(groups[inside].tolist())
        low[inside], high[inside] = value[inside] * first, value[inside] * last
    found = {}
    for name in np.unique(devices).tolist():
        own = devices == name
        found[f"{prefix}{name}"] = (truth[own], value[own], low[own], high[own])
    if prefix:
        published = rows.published_test[chosen]
        if published.any():
            everything = (truth[published], value[published], low[published], high[published])
            found[f"{prefix}published test shapes"] = everything
    return found


def _chip(name: str) -> str:
    return "A100" if "A100" in name else name


def _ranges(rows: _Rows) -> tuple[dict[str, float], dict[str, float]]:
    """The extent of what describes the shape alone; beyond it, a row is unlike the training data."""
    one = {name: np.ones(1) for name in ("op", *rows.family.columns)}
    shape = {name: rows.described[name] for name in rows.family.work(one).shape}
    return {n: float(v.min()) for n, v in shape.items()}, {n: float(v.max()) for n, v in shape.items()}
