"""How good a predictor is: the same figures for every data set, kernel, network and device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """Figures of predictions against measurements.

    Attributes:
        rows: pairs compared.
        mape: mean absolute percentage error, percent.
        median_ape: median absolute percentage error, percent.
        within_5: share of predictions within ±5% of the measurement, 0 … 1.
        within_10: the same for ±10%.
        spearman: rank correlation; NaN where either side is constant.
        kendall: Kendall's tau-b; NaN where either side is constant.
        coverage: share of measurements inside their interval; None without intervals.
        width: median width of the intervals over the prediction; None without intervals.
    """

    rows: int
    mape: float
    median_ape: float
    within_5: float
    within_10: float
    spearman: float
    kendall: float
    coverage: float | None = None
    width: float | None = None

    def to_dict(self) -> dict[str, float | int | None]:
        """The figures by name."""
        return asdict(self)


def evaluate(
    measured: npt.ArrayLike,
    predicted: npt.ArrayLike,
    low: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
) -> Metrics:
    """The figures of `predicted` against `measured` (both of shape (n,), positive, one unit).

    Args:
        measured: the truth.
        predicted: the predictions, in the same order.
        low: lower ends of the intervals, or None.
        high: upper ends of the intervals, or None.

    Raises:
        ValueError: the lengths differ, or there is no row, or a measurement is not positive.
    """
    truth, guess = _vector(measured), _vector(predicted)
    if truth.shape != guess.shape or truth.size == 0:
        raise ValueError(f"{truth.size} measurements and {guess.size} predictions cannot be compared")
    errors = absolute_percentage_errors(truth, guess)
    covered = width = None
    if low is not None and high is not None:
        covered = interval_coverage(truth, low, high)
        width = float(np.median((_vector(high) - _vector(low)) / guess))
    return Metrics(
        rows=int(truth.size),
        mape=float(errors.mean()),
        median_ape=float(np.median(errors)),
        within_5=float((errors <= 5.0).mean()),
        within_10=float((errors <= 10.0).mean()),
        spearman=spearman(truth, guess),
        kendall=kendall(truth, guess),
        coverage=covered,
        width=width,
    )


def finite(figures: Metrics) -> dict[str, float | int | None]:
    """The figures by name for a file; None where one is not defined, since JSON has no NaN."""
    return {name: None if value != value else value for name, value in figures.to_dict().items()}


def absolute_percentage_errors(measured: npt.ArrayLike, predicted: npt.ArrayLike) -> Array:
    """|predicted - measured| / measured in percent, one for each row. Raises ValueError for measurements <= 0."""
    truth = _vector(measured)
    if not (truth > 0).all():
        raise ValueError("measurements must be positive")
    return 100.0 * np.abs(_vector(predicted) - truth) / truth


def spearman(left: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Spearman's rank correlation with mean ranks for ties; NaN where a side is constant."""
    first, second = ranks(left), ranks(right)
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / scale if scale > 0 else float("nan")


def kendall(left: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Kendall's tau-b in O(n log n) (Knight, "A computer method for calculating Kendall's tau", 1966)."""
    first, second = _vector(left), _vector(right)
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    pairs = first.size * (first.size - 1) // 2
    tied_first, tied_second = _tied_pairs(first), _tied_pairs(np.sort(second))
    tied_both = _tied_pairs(first + 1j * second)
    swaps = _inversions(np.unique(second, return_inverse=True)[1].reshape(-1))
    concordant_minus_discordant = pairs - tied_first - tied_second + tied_both - 2 * swaps
    scale = float(np.sqrt(float(pairs - tied_first) * float(pairs - tied_second)))
    return concordant_minus_discordant / scale if scale > 0 else float("nan")


def ranks(values: npt.ArrayLike) -> Array:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(_vector(values), return_inverse=True, return_counts=True)
    first = np.concatenate(([0], np.cumsum(counts)[:-1]))
    return (first + (counts - 1) / 2.0)[inverse.reshape(-1)]


def interval_coverage(measured: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> float:
    """The share of measurements inside [low, high], ends included."""
    truth = _vector(measured)
    return float(((truth >= _vector(low)) & (truth <= _vector(high))).mean())


def regret(measured: npt.ArrayLike, predicted: npt.ArrayLike, k: int = 1) -> float:
    """What choosing by prediction loses: the best time among the k predicted fastest, over the best of all, minus 1.

    Args:
        measured: times of the candidates of one decision.
        predicted: their predictions; ties are broken by position.
        k: how many of them are measured before one is taken.
    """
    truth = _vector(measured)
    tried = np.argsort(_vector(predicted), kind="stable")[: max(1, k)]
    return float(truth[tried].min() / truth.min()) - 1.0


def mean_regret(groups: Mapping[object, tuple[npt.ArrayLike, npt.ArrayLike]], k: int = 1) -> float:
    """The geometric mean of (1 + regret) over decisions, minus 1; `groups` holds (measured, predicted) of each."""
    logs = [np.log1p(regret(measured, predicted, k)) for measured, predicted in groups.values()]
    return float(np.expm1(np.mean(logs))) if logs else float("nan")


def _vector(values: npt.ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _tied_pairs(ordered: npt.NDArray[np.generic]) -> int:
    """Pairs of equal values in a sorted sequence."""
    counts = np.diff(np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1], [True]))))
    return int((counts * (counts - 1) // 2).sum())


def _inversions(sequence: npt.NDArray[np.intp]) -> int:
    """Pairs (i < j) with sequence[i] > sequence[j], bit by bit: a radix sort that counts what it moves past."""
    total = 0
    groups = np.zeros(sequence.size, dtype=np.int64)
    for bit in range(int(sequence.max(initial=0)).bit_length() - 1, -1, -1):
        ones = (sequence >> bit) & 1
        order = np.argsort(groups, kind="stable")
        bits, group = ones[order], groups[order]
        before = np.cumsum(bits) - bits
        starts = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
        base = np.repeat(before[starts], np.diff(np.append(starts, group.size)))
        total += int(((before - base) * (1 - bits)).sum())
        groups = groups * 2 + ones
    return total
