"""A predictor for a device never seen, from about ten measurements (the task of HELP, Lee et al., 2021).

Devices differ mostly in what a few kinds of work cost. The reference devices' predictors give a prior over these costs
(their mean and covariance, in units of each device's mean latency); the measurements of the new device update it, for
every style of execution and several levels of noise, under Student's t so that one bad timing does no harm. The
hypotheses are averaged by their evidence: that is how the style of a new device's runtime is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.architectures.intervals import LEVEL, Interval
from optc.costmodel.architectures.predictor import ArchitecturePredictor
from optc.costmodel.architectures.regression import Array
from optc.costmodel.architectures.space import Codes, Space
from optc.costmodel.kinds import Prediction

NOISES = (0.03, 0.06, 0.12)
"""Relative noise levels that compete."""
_FREEDOM = 4.0  # of Student's t
_FLOOR = 0.1  # of the median measurement
_OWN = 0.05  # how far, in mean latencies, a cost may differ from what the reference devices span
_BASE = 4  # the features of a space that come first and carry its prior


@dataclass(frozen=True)
class Prior:
    """What devices have in common: costs of work in units of their mean latency.

    Attributes:
        mean: shape (f + 1,), the offset first.
        covariance: shape (f + 1, f + 1).
    """

    mean: Array
    covariance: Array


@dataclass(frozen=True)
class Hypothesis:
    """One style and noise level, with its posterior costs and evidence.

    Attributes:
        style: of execution.
        noise: relative.
        coefficients: shape (f + 1,).
        evidence: logarithm, up to a constant.
    """

    style: str
    noise: float
    coefficients: Array
    evidence: float


def learn_prior(references: Sequence[ArchitecturePredictor], codes: Codes) -> Prior:
    """The prior of reference devices, from their predictions for `codes`, shape (n, d)."""
    costs = []
    for reference in references:
        latency = np.exp(reference.log_latency(reference.space.features(codes, reference.style)))
        rows = base_rows(reference.space, codes, reference.style) / latency[:, None]
        found = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0]
        costs.append(found / np.exp(np.log(latency).mean()))
    stacked = np.array(costs)
    covariance = np.cov(stacked.T) + np.diag(0.15 * stacked.var(0) + _OWN**2)
    return Prior(stacked.mean(0), covariance)


def base_rows(space: Space, codes: Codes, style: str) -> Array:
    """The features that carry the prior, with a column of ones before them."""
    features = space.features(codes, style)
    features = features[:, :_BASE] if space.position else features
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)


def relative_noise(latency: Array) -> Array:
    """How much noisier than usual a measurement of each expected latency is: short ones are rounded and disturbed."""
    return np.sqrt(1.0 + 0.5 * (0.6 * np.median(latency) / latency) ** 2)


def hypotheses(space: Space, prior: Prior, everything: Codes, codes: Codes, latency: Array) -> list[Hypothesis]:
    """Every style and noise level, updated by the measurements.

    Args:
        space: the search space.
        prior: of the costs.
        everything: candidates of the space, for the scale of typical latencies.
        codes: of the measured architectures, shape (n, d).
        latency: measured, shape (n,).
    """
    found = []
    for style in space.styles:
        expected = np.maximum(base_rows(space, everything, style) @ prior.mean, 0.05)
        median = float(np.median(expected))
        rows = base_rows(space, codes, style)
        here = np.maximum(rows @ prior.mean, 0.05)
        scale = float(np.exp(np.median(np.log(latency / here))))
        factor = relative_noise(np.append(here, median))[:-1]
        found += [_update(style, prior, rows * (scale / latency)[:, None], scale, noise, factor) for noise in NOISES]
    return found


def _update(style: str, prior: Prior, rows: Array, scale: float, noise: float, factor: Array) -> Hypothesis:
    """The posterior of costs from `rows · costs ≈ 1`, by iterated weights; evidence by Laplace's approximation."""
    precision = np.linalg.inv(prior.covariance)
    deviation = noise * factor
    weights = np.ones(len(rows))
    for _ in range(30):
        weighted = rows * (weights / deviation**2)[:, None]
        curvature = rows.T @ weighted + precision
        costs = np.linalg.solve(curvature, weighted.sum(0) + precision @ prior.mean)
        errors = (rows @ costs - 1.0) / deviation
        weights = (_FREEDOM + 1.0) / (_FREEDOM + errors**2)
    surprise = float(((_FREEDOM + 1.0) / 2.0 * np.log1p(errors**2 / _FREEDOM) + np.log(deviation)).sum())
    away = costs - prior.mean
    complexity = 0.5 * float(np.linalg.slogdet(curvature)[1] - np.linalg.slogdet(precision)[1])
    evidence = -surprise - 0.5 * float(away @ precision @ away) - complexity
    return Hypothesis(style, noise, costs * scale, evidence)


def shares(found: Sequence[Hypothesis]) -> Array:
    """The probability of each hypothesis."""
    evidence = np.array([each.evidence for each in found])
    likely = np.exp(evidence - evidence.max())
    return likely / likely.sum()


@dataclass(frozen=True)
class AdaptedPredictor:
    """The average of hypotheses.

    Attributes:
        space: the search space.
        found: the hypotheses that matter.
        share: their probabilities.
        floor: the least latency.
        interval: around the prediction.
    """

    space: Space
    found: tuple[Hypothesis, ...]
    share: Array
    floor: float
    interval: Interval

    def predict(self, codes: Codes) -> Prediction:
        """Latencies, intervals and whether each architecture is a network of the space."""
        log_latency = self.log_latency(codes)
        low, high = self.interval.ends(log_latency)
        return Prediction(np.exp(log_latency), np.exp(low), np.exp(high), self.space.regular(codes))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The parameters."""
        return {
            "styles": np.array([each.style for each in self.found]),
            "coefficients": np.stack([each.coefficients for each in self.found]),
            "share": self.share,
            "floor": np.array([self.floor]),
            "interval": np.stack([self.interval.knots, self.interval.low, self.interval.high]),
        }

    @staticmethod
    def of_arrays(space: Space, stored: dict[str, npt.NDArray[Any]]) -> AdaptedPredictor:
        """The predictor of `arrays`."""
        styles, costs = stored["styles"].tolist(), stored["coefficients"]
        found = tuple(Hypothesis(style, 0.0, cost, 0.0) for style, cost in zip(styles, costs, strict=True))
        return AdaptedPredictor(space, found, stored["share"], float(stored["floor"][0]), Interval(*stored["interval"]))

    def log_latency(self, codes: Codes) -> Array:
        """Logarithms of latencies, shape (n,)."""
        rows = {each.style: base_rows(self.space, codes, each.style) for each in self.found}
        total = np.zeros(len(codes))
        for each, share in zip(self.found, self.share, strict=True):
            total += share * np.log(np.maximum(rows[each.style] @ each.coefficients, self.floor))
        return total


def adapt(space: Space, prior: Prior, everything: Codes, codes: Codes, latency: Array) -> AdaptedPredictor:
    """The predictor for a device of which a few architectures were measured; arguments as for `hypotheses`.

    The interval comes from the errors of leaving each sample out (Barber et al., "Predictive inference with the
    jackknife+", 2021).
    """
    predictor = _average(space, prior, everything, codes, latency)
    expected = np.exp(predictor.log_latency(everything))
    median = float(np.median(expected))
    errors = np.empty(len(codes))
    for row in range(len(codes)):
        rest = np.arange(len(codes)) != row
        other = _average(space, prior, everything, codes[rest], latency[rest])
        errors[row] = abs(np.log(latency[row]) - other.log_latency(codes[row : row + 1])[0])
    errors /= relative_noise(np.append(np.exp(predictor.log_latency(codes)), median))[:-1]
    spread = float(np.quantile(errors, min(1.0, LEVEL * (1.0 + 1.0 / len(errors)))))
    knots = np.quantile(np.log(expected), np.linspace(0.0, 1.0, 9))
    reach = spread * relative_noise(np.append(np.exp(knots), median))[:-1]
    return replace(predictor, interval=Interval(knots, -reach, reach))


def _average(space: Space, prior: Prior, everything: Codes, codes: Codes, latency: Array) -> AdaptedPredictor:
    """The hypotheses that matter, without an interval yet."""
    every = hypotheses(space, prior, everything, codes, latency)
    share = shares(every)
    kept = [index for index in np.argsort(-share, kind="stable") if share[index] > 1e-3]
    found = tuple(every[index] for index in kept)
    floor = _FLOOR * float(np.median(latency))
    return AdaptedPredictor(space, found, share[kept] / share[kept].sum(), floor, Interval(*np.zeros((3, 1))))
