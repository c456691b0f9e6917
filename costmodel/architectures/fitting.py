"""Fits predictors of whole architectures; style, then correction and drift are chosen by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optc.costmodel.architectures.intervals import calibrate
from optc.costmodel.architectures.predictor import ArchitecturePredictor, Remainder
from optc.costmodel.architectures.regression import Array, Correction, Linear, fit_correction, fit_linear
from optc.costmodel.architectures.sessions import Kernel, fit_sessions, kernels, own_offsets, placed_sessions
from optc.costmodel.architectures.space import Codes, Space

CORRECTIONS: tuple[tuple[float, float], ...] = ((8.0, 0.2), (8.0, 0.05), (16.0, 0.1))
"""(kernel length, noise) of the corrections that compete with the linear model alone."""
_ROUNDS = 2  # of fitting without the drift and finding the drift
_SURE = 1.0  # standard errors by which a drift must lessen the error, lest it be chance
_IDLE = 0.02  # of the median work of hollow samples, below which nothing is left of a network
_STRAY = 0.1  # relative error beyond which a row says no more about the drift

Folds = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Choice:
    """What cross-validation chose.

    Attributes:
        style: of execution.
        correction: length and noise of its kernel, or None.
        log_latency: shape (n,), each sample predicted from the other folds, without drift.
    """

    style: str
    correction: tuple[float, float] | None
    log_latency: Array


def fit(
    space: Space,
    codes: Codes,
    latency: Array,
    folds: int,
    seed: int,
    places: Array | None = None,
    others: tuple[Codes, Array] | None = None,
) -> ArchitecturePredictor:
    """Fit a predictor; style, correction and drift are those with the best out-of-fold predictions.

    Args:
        space: the search space.
        codes: of the samples.
        latency: of the samples, positive.
        folds: of the cross-validation; a group of equal architectures never straddles two.
        seed: of the folds.
        places: of the samples in the order in which the set was measured; None where it is unknown.
        others: codes and latencies of samples that are no networks, for what is left of hollow ones.
    """
    fold = _folds(space.groups(codes), folds, seed)
    logs = np.log(latency)
    tables = {style: space.features(codes, style) for style in space.styles}
    corrections: tuple[tuple[float, float] | None, ...] = (None, *(CORRECTIONS if space.position else ()))
    chosen = _choose(tables, corrections, latency, fold)
    drift = np.zeros(len(latency))
    kernel = None
    for _ in range(_ROUNDS if places is not None else 0):
        assert places is not None
        kernel = _choose_kernel(chosen.log_latency, logs, places, fold)
        if kernel is None:
            break
        linear, correction = _fit(tables[chosen.style], latency * np.exp(-drift), chosen.correction)
        fitted = _log_latency(linear, correction, tables[chosen.style])
        drift = own_offsets(kernel, places, fitted, logs - fitted)
        chosen = _choose({chosen.style: tables[chosen.style]}, corrections, latency * np.exp(-drift), fold)
    table = tables[chosen.style]

    def remainder(linear: Linear) -> Remainder | None:
        return None if others is None else _remainder(space, chosen.style, linear, *others)

    if kernel is None or places is None:
        linear, correction = _fit(table, latency, chosen.correction)
        interval = calibrate(chosen.log_latency, logs)
        return ArchitecturePredictor(
            space,
            chosen.style,
            linear,
            correction,
            interval,
            table.min(0),
            table.max(0),
            remainder=remainder(linear),
        )
    linear, correction = _fit(table, latency * np.exp(-drift), chosen.correction)
    fitted = _log_latency(linear, correction, table)
    sessions = fit_sessions(kernel, places, fitted, logs - fitted)
    out_of_fold = _with_drift(kernel, chosen.log_latency, logs, places, fold)
    return ArchitecturePredictor(
        space,
        chosen.style,
        linear,
        correction,
        calibrate(chosen.log_latency + sessions.mean, logs),
        table.min(0),
        table.max(0),
        sessions,
        calibrate(out_of_fold, logs),
        remainder(linear),
    )


def _remainder(space: Space, style: str, linear: Linear, codes: Codes, latency: Array) -> Remainder | None:
    """What hollow samples take; None where there is none of them."""
    hollow = np.zeros(len(codes), bool) if space.hollow is None else space.hollow(codes, style)
    if not hollow.any():
        return None
    work, times = linear.work(space.features(codes[hollow], style)), latency[hollow]
    idle = work <= (_IDLE * float(np.median(work[work > 0])) if (work > 0).any() else 0.0)
    least = float(np.median(times[idle])) if idle.any() else float(times.min())
    busy = ~idle & (times > least)
    share = float(np.exp(np.mean(np.log((times[busy] - least) / work[busy])))) if busy.any() else 0.0
    return Remainder(least, share)


def _choose(
    tables: dict[str, Array], corrections: tuple[tuple[float, float] | None, ...], latency: Array, fold: Folds
) -> _Choice:
    logs = np.log(latency)

    def tried(style: str, correction: tuple[float, float] | None) -> _Choice:
        return _Choice(style, correction, _out_of_fold(tables[style], latency, fold, correction))

    def score(choice: _Choice) -> float:
        return _hits(choice.log_latency, logs)

    plain = max((tried(style, None) for style in tables), key=score)
    return max([plain, *(tried(plain.style, each) for each in corrections if each is not None)], key=score)


def _choose_kernel(log_latency: Array, logs: Array, places: Array, fold: Folds) -> Kernel | None:
    """The reach of the drift that predicts best, or None where no drift does."""
    without = np.abs(logs - log_latency)
    limit = max(_STRAY, 3.0 * float(np.median(without)))

    def gains(kernel: Kernel) -> Array:
        found = np.abs(logs - _with_drift(kernel, log_latency, logs, places, fold))
        return np.asarray(np.minimum(without, limit) - np.minimum(found, limit))

    found = {kernel: gains(kernel) for kernel in kernels()}
    best = max(found, key=lambda kernel: float(found[kernel].mean()))
    error = float(found[best].std()) / len(logs) ** 0.5
    return best if float(found[best].mean()) > _SURE * error else None


def _with_drift(kernel: Kernel, log_latency: Array, logs: Array, places: Array, fold: Folds) -> Array:
    """Out-of-fold predictions with the drift that the residuals of the other folds show."""
    found = log_latency.copy()
    for number in np.unique(fold):
        inside = fold == number
        known = placed_sessions(kernel, places[~inside], log_latency[~inside], logs[~inside] - log_latency[~inside])
        found[inside] += known.offsets(places[inside], log_latency[inside])
    return found


def _fit(features: Array, latency: Array, choice: tuple[float, float] | None) -> tuple[Linear, Correction | None]:
    linear = fit_linear(features, latency)
    if choice is None:
        return linear, None
    residual = np.log(latency) - linear.log_latency(features)
    return linear, fit_correction(features, residual, *choice)


def _log_latency(linear: Linear, correction: Correction | None, features: Array) -> Array:
    found = linear.log_latency(features)
    return found if correction is None else found + correction(features)


def _out_of_fold(features: Array, latency: Array, fold: Folds, choice: tuple[float, float] | None) -> Array:
    """Log-latencies of each row, predicted from the other folds."""
    found = np.empty(len(latency))
    for number in np.unique(fold):
        inside = fold == number
        linear, correction = _fit(features[~inside], latency[~inside], choice)
        found[inside] = _log_latency(linear, correction, features[inside])
    return found


def _hits(log_prediction: Array, log_measured: Array) -> float:
    """The share within ±10%, plus that within ±5%: what is steep enough to choose by, and blind to outliers."""
    errors = np.abs(np.expm1(log_prediction - log_measured))
    return float((errors <= 0.10).mean() + (errors <= 0.05).mean())


def _folds(groups: npt.NDArray[np.int64], count: int, seed: int) -> Folds:
    """A fold for each row; rows of a group share theirs."""
    labels, inverse = np.unique(groups, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    return (shuffled % count)[inverse.reshape(-1)]
