"""What boards of a class have in common: expectation maximisation over all boards and networks at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optc.costmodel.networks.costs import FALLBACK, GROUP_LAUNCH, LAUNCH, SCALE, Costs
from optc.costmodel.networks.posterior import Board, Class, of_fit, robust_weights
from optc.costmodel.networks.runs import GRAPHICS, PROCESSORS

Array = npt.NDArray[np.float64]
_FIRST_NOISE, _LEAST_NOISE = 0.02, 5e-4
_ROUNDS, _STEPS, _FIRST_STEPS = 8, 2, 6
_PRIOR_BOARDS = 8.0  # what the prior covariance weighs
_PRIOR_ROWS = 4.0  # what the class's noise weighs in a board's own
_MEASURED_SHARE = 0.8  # of the noise: the rest is what networks deviate by, which the kriging has already
_LONGEST_STEP = 1.5
_PRIOR_SLOPE = 4.0  # what the assumption that threads do not matter weighs, in squares of log threads
# On the processor a grouped convolution is a layer for each group; a graphics processor computes it in one go, but
# hands some layers to the processor.
_EXPECTED = {(GRAPHICS, GROUP_LAUNCH): -4.0, (PROCESSORS, FALLBACK): -10.0}


@dataclass(frozen=True)
class Population:
    """All boards of a set.

    Attributes:
        classes: by name.
        boards: one for each run.
    """

    classes: dict[str, Class]
    boards: list[Board]


def prior_deviations(coefficients: Sequence[str]) -> Array:
    """How much boards differ in each coefficient, before any is seen."""
    slopes = ("few_", "odd_", "narrow_", "heavy_", "window_size", "strided")
    wide = {SCALE: 3.0, LAUNCH: 1.5, FALLBACK: 1.5}
    return np.array([wide.get(name, 0.3 if name.startswith(slopes) else 0.35) for name in coefficients])


def fit_population(
    costs: Costs, coefficients: Sequence[str], measured: Array, classes: Sequence[str], threads: Array
) -> Population:
    """Boards and what their classes have in common.

    Args:
        costs: of the networks.
        coefficients: their names.
        measured: logarithms of ms, shape (runs, networks); NaN where nothing was measured.
        classes: of the runs.
        threads: of the runs, as `runs.log_threads` gives them.
    """
    here = ~np.isnan(measured)
    truth = np.where(here, measured, 0.0)
    class_of, names = np.array(classes), sorted(set(classes))
    count = len(coefficients)
    prior = np.diag(prior_deviations(coefficients) ** 2)
    boards = np.zeros((len(truth), count))
    scale = list(coefficients).index(SCALE)
    offsets = truth - costs.latencies(boards)
    boards[:, scale] = [np.median(row[known]) if known.any() else 0.0 for row, known in zip(offsets, here, strict=True)]
    means, covariances, first = {}, {}, {}
    slopes_of = {name: np.zeros(count) for name in names}
    for name in names:
        mean = np.array([_EXPECTED.get((name, coefficient), 0.0) for coefficient in coefficients])
        boards[class_of == name] += mean
        mean[scale] = boards[class_of == name, scale].mean()
        means[name], first[name], covariances[name] = mean, mean, prior.copy()
    noise = np.full(len(truth), _FIRST_NOISE)
    class_noise = dict.fromkeys(names, _FIRST_NOISE)
    for number in range(_ROUNDS):
        mean = np.stack([means[name] for name in class_of.tolist()])
        mean += threads[:, None] * np.stack([slopes_of[name] for name in class_of.tolist()])
        inverse = {name: np.linalg.inv(covariances[name]) for name in names}
        precision = np.stack([inverse[name] for name in class_of.tolist()])
        for _ in range(_STEPS if number else _FIRST_STEPS):
            fitted, slopes = costs.latencies_and_slopes(boards)
            errors = np.where(here, truth - fitted, 0.0)
            weights = np.where(here, robust_weights(errors, noise[:, None]), 0.0) / noise[:, None]
            weighted = slopes * weights[:, :, None]
            curvature = weighted.transpose(0, 2, 1) @ slopes + precision
            pull = (precision @ (mean - boards)[..., None])[..., 0]
            gradient = (weighted * errors[:, :, None]).sum(1) + pull
            step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
            length = np.maximum(np.abs(step).max(1), 1e-9)
            boards = boards + step * np.minimum(1.0, _LONGEST_STEP / length)[:, None]
        spread = np.linalg.inv(curvature)
        squares = np.where(here, robust_weights(errors, noise[:, None]), 0.0) * errors**2
        for name in names:
            own = class_of == name
            number_of = int(own.sum())
            means[name], slopes_of[name] = _trend(boards[own], threads[own], first[name])
            apart = boards[own] - means[name] - threads[own, None] * slopes_of[name]
            covariance = apart.T @ apart + spread[own].sum(0) + prior * _PRIOR_BOARDS
            covariances[name] = covariance / (number_of + _PRIOR_BOARDS)
            class_noise[name] = max(float(squares[own].sum() / here[own].sum()), _LEAST_NOISE)
            noise[own] = (squares[own].sum(1) + _PRIOR_ROWS * class_noise[name]) / (here[own].sum(1) + _PRIOR_ROWS)
    found = {
        name: Class(means[name], covariances[name], class_noise[name] * _MEASURED_SHARE, slopes_of[name])
        for name in names
    }
    fitted_boards = [
        of_fit(costs, truth[row], here[row], boards[row], found[name].at(threads[row]).mean,
               noise[row] * _MEASURED_SHARE)
        for row, name in enumerate(class_of.tolist())
    ]  # fmt: skip
    return Population(found, fitted_boards)


def _trend(boards: Array, threads: Array, first: Array) -> tuple[Array, Array]:
    """Mean coefficients and their slopes over log threads, shape (coefficients,) each; `first` weighs one board."""
    rows = np.stack([np.ones(len(threads)), threads], axis=1)
    system = rows.T @ rows + np.diag([1.0, _PRIOR_SLOPE])
    mean, slope = np.linalg.solve(system, rows.T @ boards + np.stack([first, np.zeros_like(first)]))
    return mean, slope


@dataclass(frozen=True)
class Completion:
    """How latencies of the same networks go together on boards of one class: a normal distribution of logarithms.

    Attributes:
        networks: indices of those that were measured often enough.
        mean: shape (networks,).
        covariance: shape (networks, networks).
        shares: shape (networks,), of the class's runs that measured each.
    """

    networks: npt.NDArray[np.int64]
    mean: Array
    covariance: Array
    shares: Array

    def given(self, values: Array) -> tuple[Array, Array]:
        """Means and variances of all networks, given some (NaN: not given); shape (networks,) each."""
        known = np.flatnonzero(~np.isnan(values))
        if not known.size:
            return self.mean, np.diag(self.covariance).copy()
        block = self.covariance[np.ix_(known, known)] + _READING * np.eye(len(known))
        gain = np.linalg.solve(block, self.covariance[known])
        mean = self.mean + gain.T @ (values[known] - self.mean[known])
        return mean, np.maximum(np.diag(self.covariance) - (self.covariance[known] * gain).sum(0), _LEAST_NOISE)


_READING = 4e-4  # variance of a measurement's logarithm: 2%
_FEWEST_RUNS = 5
_COMPLETION_ROUNDS, _COMPLETION_PRIOR, _COMPLETION_VARIANCE = 15, 10.0, 0.01


def complete(measured: Array) -> Completion:
    """Mean and covariance of rows with gaps, shape (runs, networks), by expectation maximisation."""
    networks = np.flatnonzero((~np.isnan(measured)).sum(0) >= _FEWEST_RUNS)
    values = measured[:, networks]
    values = values[(~np.isnan(values)).any(1)]
    here = ~np.isnan(values)
    mean = np.nanmean(values, 0)
    levels = np.array([(row - mean)[known].mean() for row, known in zip(values, here, strict=True)])
    filled = np.where(here, values, mean + levels[:, None])
    count = len(networks)
    covariance = np.cov(filled.T).reshape(count, count) + 2 * _COMPLETION_VARIANCE * np.eye(count)
    for _ in range(_COMPLETION_ROUNDS):
        rest = np.zeros((count, count))
        for row, known in enumerate(here):
            a, b = np.flatnonzero(known), np.flatnonzero(~known)
            if not b.size:
                continue
            gain = np.linalg.solve(covariance[np.ix_(a, a)], covariance[np.ix_(a, b)])
            filled[row, b] = mean[b] + gain.T @ (values[row, a] - mean[a])
            rest[np.ix_(b, b)] += covariance[np.ix_(b, b)] - gain.T @ covariance[np.ix_(a, b)]
        mean = filled.mean(0)
        apart = filled - mean
        covariance = apart.T @ apart + rest + _COMPLETION_PRIOR * _COMPLETION_VARIANCE * np.eye(count)
        covariance /= len(values) + _COMPLETION_PRIOR
    return Completion(networks, mean, covariance, here.mean(0))


def most_telling(completion: Completion, candidates: Sequence[int], count: int) -> list[int]:
    """The networks whose latencies leave the least doubt about all others, chosen one by one, then exchanged.

    Args:
        completion: of the class.
        candidates: positions in `completion.networks`.
        count: how many.
    """
    chosen: list[int] = []
    while len(chosen) < min(count, len(candidates)):
        rest = [index for index in candidates if index not in chosen]
        chosen.append(min(rest, key=lambda index: _doubt(completion, [*chosen, index])))
    improved = True
    while improved:
        improved = False
        for place in range(len(chosen)):
            others = chosen[:place] + chosen[place + 1 :]
            rest = [index for index in candidates if index not in others]
            best = min(rest, key=lambda index: _doubt(completion, [*others, index]))
            if _doubt(completion, [*others, best]) < _doubt(completion, chosen) - 1e-9:
                chosen = [*others, best]
                improved = True
    return chosen


def _doubt(completion: Completion, chosen: Sequence[int]) -> float:
    given = np.full(len(completion.networks), np.nan)
    given[list(chosen)] = completion.mean[list(chosen)]
    return float((completion.shares * np.sqrt(completion.given(given)[1])).sum())
