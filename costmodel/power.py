"""Energy as a kind of predictor: an inference's energy is its latency times the power that the system draws.

The power of a system is the geometric mean over its measured networks: it hardly depends on the network.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optc.costmodel import metrics, predictors
from optc.costmodel.datasets import dataset
from optc.costmodel.datasets.table import Table
from optc.costmodel.kinds import Evaluation, Prediction
from optc.costmodel.predictors import Card
from optc.costmodel.training.run import Run
from optc.errors import UsageError

KIND = "energy"
ALL = "all systems, unseen networks"
_TAILS = (0.05, 0.95)
Array = npt.NDArray[np.float64]


def train(run: Run, data: Path) -> list[Card]:
    """Fit the power of each system; see Kind. Systems with one measured network have no figures of their own."""
    source = dataset.load(run.config.data_set)
    found = source.read(data)
    run.bind(found.digest)
    power = np.log(found.energy / found.latency)  # mW
    watts = {str(name): float(power[found.systems == name].mean()) for name in np.unique(found.systems)}
    held_out = np.full_like(power, np.nan)
    for index, (system, benchmark) in enumerate(zip(found.systems, found.benchmarks, strict=True)):
        others = (found.systems == system) & (found.benchmarks != benchmark)
        if others.any():
            held_out[index] = power[others].mean()
    judged = ~np.isnan(held_out)
    errors = power - held_out
    low, high = (float(q) for q in np.nanquantile(errors, _TAILS))
    # Intervals are judged on systems that they were not drawn from.
    ends = np.array([np.nanquantile(errors[found.systems != system], _TAILS) for system in found.systems])
    guess = np.exp(held_out) * found.latency
    figures = {}
    for name in (ALL, *watts):
        own = judged & ((found.systems == name) | (name == ALL))
        if own.any():
            truth, first, last = found.energy[own], *(guess[own] * np.exp(ends[own, side]) for side in (0, 1))
            content = metrics.evaluate(truth, guess[own], first, last).to_dict()
            figures[name] = {key: None if value != value else value for key, value in content.items()}
    card = Card(
        name=run.config.name,
        kind=KIND,
        data_set=source.name,
        targets=tuple(watts),
        source=source.upstream,
        licence=source.licence,
        rows={name: int((found.systems == name).sum()) for name in watts},
        date=datetime.now(UTC).date().isoformat(),
        split="each network in turn left out of a system's power; latency as measured in the energy run",
        seed=run.config.seed,
        figures=figures,
        details={"unit": source.unit, "log_milliwatts": watts, "interval": [low, high]},
    )
    folder = predictors.save(run.out, card, {})
    run.finish()
    return [predictors.read_card(folder)]


def predict(card: Card, target: str, table: Table) -> Prediction:
    """Energies in uJ of inferences on a system, from the column `latency_ms` (measured or predicted).

    Raises:
        DataError: a latency is no positive number; it names file and row.
    """
    return _energy(card, target, table.numbers("latency_ms", positive=True))


def evaluate(card: Card, target: str, table: Table) -> Evaluation:
    """Predict the rows whose energy was measured on `target`. Raises UsageError when there is none."""
    from optc.costmodel.datasets.mlperf_tiny import measurements

    found = measurements(table)
    own = found.systems == target
    if not own.any():
        raise UsageError(f"no energy was measured on '{target}'", where=str(table.path))
    names = found.benchmarks[own].tolist()
    return Evaluation(names, found.energy[own], _energy(card, target, found.latency[own]), names)


def _energy(card: Card, target: str, latency: Array) -> Prediction:
    value = latency * np.exp(card.details["log_milliwatts"][target])
    low, high = np.exp(card.details["interval"])
    return Prediction(value, value * low, value * high, np.ones(len(value), bool))
