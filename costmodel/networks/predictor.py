"""Latencies of networks on boards: the fitted boards of a set, or one that was adapted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.kinds import Prediction
from optc.costmodel.networks import posterior
from optc.costmodel.networks.costs import Costs, Term
from optc.costmodel.networks.population import Completion
from optc.costmodel.networks.posterior import Board, Class
from optc.costmodel.networks.runs import Configuration, class_of, log_threads, nearest

Array = npt.NDArray[np.float64]
TRAINED, ADAPTED = "trained", "adapted"
_STRONGEST_CAUTION = 0.6
_FAMILIAR_KIN, _FAMILIAR_DEVIATION = 0.6, 0.5


def point(value: Array, variance: Array) -> Array:
    """The latency that has the least expected percentage error, from the logarithm's mean and variance.

    Too high a guess costs more per cent than too low a one, so the best guess of an uncertain, log-normal latency is
    its mode.
    """
    return np.exp(value - np.minimum(variance, _STRONGEST_CAUTION))


@dataclass(frozen=True)
class Networks:
    """All that is known before a board is asked about.

    Attributes:
        coefficients: names.
        labels: of terms.
        terms: of the set's networks by name.
        costs: of the same.
        classes: of boards.
        completions: by class.
        quantiles: 5% and 95% quantiles of standardised errors, by (class, TRAINED or ADAPTED).
    """

    coefficients: Sequence[str]
    labels: Sequence[str]
    terms: Mapping[str, Sequence[Term]]
    costs: Costs
    classes: Mapping[str, Class]
    completions: Mapping[str, Completion]
    quantiles: Mapping[str, Sequence[float]]

    def adapt(self, measured: Array, name: str, threads: float = 0.0) -> Board:
        """A new board from the logarithms of a few networks' latencies, shape (networks,), NaN where not measured.

        What the class says about other measured networks, given these, counts as uncertain measurements of them.
        """
        prior, completion = self.classes[name].at(threads), self.completions[name]
        mean, variance = completion.given(measured[completion.networks])
        values, extra = measured.copy(), np.zeros(len(measured))
        for place, network in enumerate(completion.networks.tolist()):
            if np.isnan(measured[network]):
                values[network], extra[network] = mean[place], variance[place]
        return posterior.fit(self.costs, values, prior, prior.noise, extra)

    def predict(
        self, board: Board, name: str, how: str, asked: Mapping[str, Sequence[Term]], threads: float = 0.0
    ) -> Prediction:
        """Latencies of networks in ms.

        Args:
            board: a fitted one.
            name: of its class.
            how: TRAINED or ADAPTED.
            asked: terms of the networks by name.
            threads: of the board's run, as `runs.log_threads` gives them.
        """
        costs = Costs.of(asked, self.coefficients, self.labels)
        value, variance, kin = posterior.predict(
            self.costs, board, self.classes[name].at(threads), costs, len(self.labels)
        )
        low, high = self.quantiles[f"{name} {how}"]
        deviation = np.sqrt(variance)
        strange = np.array(
            [any(term.label not in self.labels for term in asked[network]) for network in asked], dtype=bool
        )
        known = (kin >= _FAMILIAR_KIN) & (deviation <= _FAMILIAR_DEVIATION) & ~strange
        guess = point(value, variance)
        return Prediction(
            guess,
            np.minimum(np.exp(value + low * deviation), guess),
            np.maximum(np.exp(value + high * deviation), guess),
            known,
        )


@dataclass(frozen=True)
class Predictor:
    """Fitted boards.

    Attributes:
        networks: what is known before.
        runs: configurations.
        boards: one for each.
        how: TRAINED or ADAPTED.
    """

    networks: Networks
    runs: Sequence[Configuration]
    boards: Sequence[Board]
    how: str

    def predict(self, wanted: Sequence[Configuration], asked: Sequence[Sequence[Term]]) -> Prediction:
        """Latencies of networks in given configurations, one for each pair."""
        runs_of: dict[str, list[int]] = {}
        for index, known_run in enumerate(self.runs):
            runs_of.setdefault(known_run.device, []).append(index)
        chosen: dict[int, list[int]] = {}
        for row, configuration in enumerate(wanted):
            options = runs_of[configuration.device]
            closest = options[nearest([self.runs[index] for index in options], configuration)]
            chosen.setdefault(closest, []).append(row)
        count = len(wanted)
        value, low, high, known = np.empty(count), np.empty(count), np.empty(count), np.empty(count, bool)
        for run, rows in chosen.items():
            asked_here = {str(row): asked[row] for row in rows}
            how_run = self.runs[run]
            found = self.networks.predict(
                self.boards[run], class_of(how_run), self.how, asked_here, log_threads(how_run)
            )
            value[rows], low[rows], high[rows], known[rows] = found.value, found.low, found.high, found.known
        return Prediction(value, low, high, known)


def arrays_of(predictor: Predictor) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a model file; `details_of` has the rest."""
    networks = predictor.networks
    boards = predictor.boards
    found: dict[str, npt.NDArray[Any]] = {
        "coefficients": np.stack([board.coefficients for board in boards]).astype(np.float32),
        "residuals": np.stack([board.residuals for board in boards]).astype(np.float32),
        "variances": np.stack([board.variances for board in boards]).astype(np.float32),
        "noise": np.array([board.noise for board in boards]),
    }
    for name, own in networks.classes.items():
        completion = networks.completions[name]
        found |= {
            f"{name}/mean": own.mean, f"{name}/covariance": own.covariance, f"{name}/noise": np.array(own.noise),
            f"{name}/slope": own.slope,
            f"{name}/completion/networks": completion.networks, f"{name}/completion/mean": completion.mean,
            f"{name}/completion/covariance": completion.covariance, f"{name}/completion/shares": completion.shares,
        }  # fmt: skip
    return found


def details_of(predictor: Predictor) -> dict[str, Any]:
    """What a card says beside the arrays, as JSON."""
    networks = predictor.networks
    return {
        "coefficients": list(networks.coefficients),
        "labels": list(networks.labels),
        # A list: the arrays' columns follow its order, and JSON objects have none.
        "networks": [
            [name, [[term.label, round(term.log_quantity, 6), dict(term.weights)] for term in found]]
            for name, found in networks.terms.items()
        ],
        "classes": list(networks.classes),
        "quantiles": {name: list(pair) for name, pair in networks.quantiles.items()},
        "runs": [[run.device, run.threads, run.powersave, run.gpu, run.run] for run in predictor.runs],
        "how": predictor.how,
    }


def predictor_of(details: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Predictor:
    """What `details_of` and `arrays_of` gave."""
    terms = {
        name: [Term(label, quantity, weights) for label, quantity, weights in found]
        for name, found in details["networks"]
    }
    costs = Costs.of(terms, details["coefficients"], details["labels"])
    classes, completions = {}, {}
    for name in details["classes"]:
        mean, covariance, slope = (arrays[f"{name}/{part}"] for part in ("mean", "covariance", "slope"))
        classes[name] = Class(mean, covariance, arrays[f"{name}/noise"].item(), slope)
        parts = [arrays[f"{name}/completion/{part}"] for part in ("networks", "mean", "covariance", "shares")]
        completions[name] = Completion(parts[0].astype(np.int64), *parts[1:])
    networks = Networks(
        details["coefficients"], details["labels"], terms, costs, classes, completions, details["quantiles"]
    )
    parts_of_boards = [arrays[name].astype(np.float64) for name in ("coefficients", "residuals", "variances")]
    boards = [
        Board(coefficients, residuals, variances, float(noise))
        for coefficients, residuals, variances, noise in zip(*parts_of_boards, arrays["noise"], strict=True)
    ]
    runs = [Configuration(*run) for run in details["runs"]]
    return Predictor(networks, runs, boards, details["how"])
