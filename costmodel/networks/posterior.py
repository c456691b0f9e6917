"""Boards as random vectors: what measurements of some networks say about a board, and so about other networks.

Coefficients of boards of one class are normally distributed; a network's deviation from the terms' sum is a Gaussian
process over what networks spend their time on, so that a network errs as its relatives do (kriging).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from optc.costmodel.networks.costs import Costs

Array = npt.NDArray[np.float64]

KINSHIP, REACH = 0.2, 0.1  # of networks' own deviations: standard deviation, and the distance over which it decays
_TAIL = 4.0  # degrees of freedom of the measurements' errors
_UNMEASURED = 1e6
_LONGEST_STEP = 1.5
_STEPS, _TRUSTING_STEPS = 25, 12


@dataclass(frozen=True)
class Class:
    """Boards of one class (processors, or graphics processors).

    Attributes:
        mean: shape (coefficients,).
        covariance: shape (coefficients, coefficients).
        noise: variance of a measurement's logarithm, typical of the class.
        slope: shape (coefficients,), of the mean over `runs.log_threads`: threads speed up some work more than other.
    """

    mean: Array
    covariance: Array
    noise: float
    slope: Array

    def at(self, threads: float) -> Class:
        """The class of boards that run so many threads."""
        return replace(self, mean=self.mean + threads * self.slope, slope=np.zeros_like(self.slope))


@dataclass(frozen=True)
class Board:
    """One configuration of a board as it was fitted.

    Attributes:
        coefficients: shape (coefficients,).
        residuals: shape (networks,), of the measured networks: measured - fitted + slopes × (coefficients - mean).
        variances: shape (networks,), of each residual; huge where nothing was measured.
        noise: variance of a measurement's logarithm.
    """

    coefficients: Array
    residuals: Array
    variances: Array
    noise: float


def robust_weights(errors: Array, noise: Array | float) -> Array:
    """What reduces the influence of outliers: Student's t as a scale mixture."""
    return np.asarray((_TAIL + 1) / (_TAIL + errors**2 / noise))


def fit(costs: Costs, measured: Array, prior: Class, noise: float, extra: Array | None = None) -> Board:
    """A board from measurements.

    Args:
        costs: of the networks.
        measured: logarithms of ms, shape (networks,); NaN where nothing was measured.
        prior: of the board's class.
        noise: variance of a measurement's logarithm.
        extra: further variance of each measurement, shape (networks,).
    """
    here = ~np.isnan(measured)
    truth = np.where(here, measured, 0.0)
    precision = np.linalg.inv(prior.covariance)
    board = prior.mean.copy()
    spread = noise + (0.0 if extra is None else extra) * np.ones(len(measured))
    for number in range(_STEPS):
        fitted, slopes = (part[0] for part in costs.latencies_and_slopes(board[None]))
        errors = np.where(here, truth - fitted, 0.0)
        # A board far from its class must not look like a set of outliers: nothing is one before the fit is near.
        trust = robust_weights(errors, spread) if number >= _TRUSTING_STEPS else 1.0
        weights = np.where(here, trust, 0.0) / spread
        curvature = (slopes * weights[:, None]).T @ slopes + precision
        gradient = (slopes * (weights * errors)[:, None]).sum(0) + precision @ (prior.mean - board)
        step = np.linalg.solve(curvature, gradient)
        board = board + step * min(1.0, _LONGEST_STEP / max(float(np.abs(step).max()), 1e-9))
    return of_fit(costs, truth, here, board, prior.mean, spread)


def of_fit(
    costs: Costs, truth: Array, here: npt.NDArray[np.bool_], board: Array, mean: Array, spread: Array | float
) -> Board:
    """The board's residuals and their variances at given coefficients."""
    fitted, slopes = (part[0] for part in costs.latencies_and_slopes(board[None]))
    errors = np.where(here, truth - fitted, 0.0)
    variances = np.where(here, spread / robust_weights(errors, spread), _UNMEASURED)
    residuals = np.where(here, errors + slopes @ (board - mean), 0.0)
    return Board(board, residuals, variances, float(np.median(spread)))


def predict(costs: Costs, board: Board, prior: Class, asked: Costs, labels: int) -> tuple[Array, Array, Array]:
    """Other networks on a fitted board.

    Args:
        costs: of the networks that `board` was fitted on.
        board: from `fit`.
        prior: of its class.
        asked: of the networks to predict.
        labels: how many the terms have.

    Returns:
        Logarithms of ms, their variances, and the kinship (0 … 1) with the closest measured network; shape (asked,).
    """
    _, known_slopes = (part[0] for part in costs.latencies_and_slopes(board.coefficients[None]))
    fitted, slopes = (part[0] for part in asked.latencies_and_slopes(board.coefficients[None]))
    kin = kinship(costs.shares(prior.mean, labels), asked.shares(prior.mean, labels))
    own = kinship(costs.shares(prior.mean, labels), costs.shares(prior.mean, labels))
    between = known_slopes @ prior.covariance @ slopes.T + deviation(kin)
    among = known_slopes @ prior.covariance @ known_slopes.T + deviation(own) + np.diag(board.variances)
    weights = np.linalg.solve(among, between)
    value = fitted + slopes @ (prior.mean - board.coefficients) + weights.T @ board.residuals
    alone = np.einsum("nk,kl,nl->n", slopes, prior.covariance, slopes) + KINSHIP**2
    variance = board.noise + alone - (between * weights).sum(0)
    measured = board.variances < _UNMEASURED / 2
    closest = kin[measured].max(0) if measured.any() else np.zeros(len(fitted))
    return value, np.maximum(variance, board.noise), closest


def kinship(left: Array, right: Array) -> Array:
    """Bhattacharyya's coefficient of shares, shape (left, right): 1 for equal ones."""
    return np.clip(np.sqrt(left) @ np.sqrt(right).T, 0.0, 1.0)


def deviation(kin: Array) -> Array:
    """Covariance of networks' own deviations."""
    return KINSHIP**2 * np.exp(-(1.0 - kin) / REACH)
