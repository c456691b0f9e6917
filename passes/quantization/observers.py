"""Observers: they watch a tensor over the calibration data and say which range its codes should cover."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from optc.errors import OptcError, UsageError
from optc.ir.source import near
from optc.passes.quantization.affine import parameters_for
from optc.passes.quantization.formats import IntegerFormat
from optc.passes.quantization.histogram import Histogram

Range = tuple[np.ndarray, np.ndarray]


class Observer(ABC):
    """Watches one tensor. Subclasses register themselves by being defined with a `method`.

    Args:
        name: the user's name of the tensor, for messages.
        axis: of channels that each get a range; None for one range. Methods that keep a histogram take None only.

    Attributes:
        weights: what the square of an error counts, to be broadcast over the values; None where all count alike. Set
            before the first batch; for the method that looks at squares.
    """

    method: ClassVar[str]
    registry: ClassVar[dict[str, type[Observer]]] = {}

    def __init_subclass__(cls) -> None:
        if "method" in cls.__dict__:
            Observer.registry[cls.method] = cls

    def __init__(self, name: str, axis: int | None = None) -> None:
        self.name = name
        self.axis = axis
        self.weights: np.ndarray | None = None
        self.batches = 0

    def observe(self, values: np.ndarray) -> None:
        """Take in one batch.

        Raises:
            OptcError: it holds NaN or infinity.
        """
        values = np.asarray(values)
        if not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            raise OptcError(
                f"'{self.name}' is not finite during calibration",
                where=f"batch {self.batches + 1}",
                why=f"{count} of {values.size} values are NaN or infinite",
                hint="check that the calibration data are preprocessed as in training",
            )
        self.batches += 1
        if values.size:
            self._take(values.astype(np.float64, copy=False))

    @abstractmethod
    def _take(self, values: np.ndarray) -> None:
        """Take in finite values."""

    def range(self, format: IntegerFormat) -> Range:
        """The least and the largest value to cover, of no dimension or for each channel.

        Raises:
            OptcError: nothing was observed.
        """
        if not self.batches:
            raise OptcError(f"'{self.name}' was never computed during calibration", hint="give calibration data")
        return self._range(format)

    @abstractmethod
    def _range(self, format: IntegerFormat) -> Range:
        """As `range`, after at least one batch."""


def observer(method: str, name: str, axis: int | None = None) -> Observer:
    """A fresh observer of the method called `method`.

    Raises:
        UsageError: there is none.
    """
    known = Observer.registry
    if method not in known:
        raise UsageError(
            f"no calibration method is called '{method}'", hint=near(method, known) or f"one of {', '.join(known)}"
        )
    return known[method](name, axis)


class MinMax(Observer):
    """All that was seen."""

    method = "min-max"

    def __init__(self, name: str, axis: int | None = None) -> None:
        super().__init__(name, axis)
        self._low: np.ndarray | None = None
        self._high: np.ndarray | None = None

    def _take(self, values: np.ndarray) -> None:
        low, high = extremes(values, self.axis)
        self._low = low if self._low is None else self._merge_low(self._low, low)
        self._high = high if self._high is None else self._merge_high(self._high, high)

    def _merge_low(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        return np.minimum(before, now)

    def _merge_high(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        return np.maximum(before, now)

    def _range(self, format: IntegerFormat) -> Range:
        zero = np.zeros(())
        return (zero, zero) if self._low is None or self._high is None else (self._low, self._high)


class MovingAverage(MinMax):
    """The exponential average of the batches' extremes (Jacob et al., 2018, section 3.1)."""

    method = "moving-average"
    weight = 0.1
    """Of the newest batch."""

    def _merge_low(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        return before + self.weight * (now - before)

    _merge_high = _merge_low


class _OfHistogram(Observer):
    def __init__(self, name: str, axis: int | None = None) -> None:
        if axis is not None:
            raise UsageError(f"the calibration method '{self.method}' knows no channels", hint="min-max does")
        super().__init__(name)
        self._histogram = Histogram()
        self._low, self._high = np.inf, -np.inf

    def _take(self, values: np.ndarray) -> None:
        self._histogram.add(values, self.weights)
        self._low, self._high = min(self._low, values.min()), max(self._high, values.max())

    def _inside(self, low: float, high: float) -> Range:
        """A range no wider than what was seen."""
        return np.asarray(max(low, self._low)), np.asarray(min(high, self._high))


class Percentile(_OfHistogram):
    """All but the outermost share of the values."""

    method = "percentile"
    share = 0.9999
    """Of the values inside."""

    def _range(self, format: IntegerFormat) -> Range:
        outside = (1.0 - self.share) / 2
        return self._inside(self._histogram.quantile(outside), self._histogram.quantile(1.0 - outside))


class MeanSquaredError(_OfHistogram):
    """The range whose codes have the least squared error, among shrunk copies of what was seen.

    With weights the least error of what reads the values. Both ends then shrink by themselves: without them too much of
    the end that few values reach would go, and those can be what matters.
    """

    method = "mse"
    steps = 80

    def _range(self, format: IntegerFormat) -> Range:
        used = self._histogram.counts > 0
        centers, counts = self._histogram.centers[used], self._histogram.counts[used]

        def error(low: float, high: float) -> float:
            parameters = parameters_for(self._low * low, self._high * high, format, symmetric=False)
            return float(((parameters.apply(centers) - centers) ** 2 * counts).sum())

        shares = [1.0 - step / self.steps for step in range(self.steps)]
        low = high = min(shares, key=lambda share: error(share, share))
        if self.weights is not None:
            low = min(shares, key=lambda share: error(share, high))
            high = min(shares, key=lambda share: error(low, share))
        return np.asarray(self._low * low), np.asarray(self._high * high)


class Entropy(_OfHistogram):
    """The clipping whose codes keep the distribution best: the least Kullback-Leibler divergence.

    After Migacz, "8-bit Inference with TensorRT" (GTC 2017): the clipped histogram, outliers counted at its ends,
    against its own merger into as many bins as there are codes.
    """

    method = "entropy"
    steps = 100

    def _range(self, format: IntegerFormat) -> Range:
        centers, counts = self._histogram.centers, self._histogram.counts.astype(np.float64)
        codes = int(format.largest) - format.least + 1
        best = (np.inf, 1.0)
        for step in range(self.steps):
            share = 1.0 - step / self.steps
            inside = (centers >= self._low * share) & (centers <= self._high * share)
            if inside.sum() <= codes:
                break
            first, last = np.flatnonzero(inside)[[0, -1]]
            kept = counts[first : last + 1].copy()
            places = np.arange(len(kept)) * codes // len(kept)
            merged = np.bincount(places, kept, minlength=codes)
            spread = np.bincount(places, kept > 0, minlength=codes)
            approximated = np.where(kept > 0, merged[places] / np.maximum(spread[places], 1), 0.0)
            kept[0] += counts[:first].sum()
            kept[-1] += counts[last + 1 :].sum()
            best = min(best, (_divergence(kept, approximated), share), key=lambda each: each[0])
        return np.asarray(self._low * best[1]), np.asarray(self._high * best[1])


def _divergence(truth: np.ndarray, approximation: np.ndarray) -> float:
    """Kullback-Leibler, in nats, of two histograms; empty bins of the approximation count as almost empty."""
    truth = truth / truth.sum()
    approximation = approximation / max(approximation.sum(), 1e-300)
    used = truth > 0
    return float((truth[used] * np.log(truth[used] / np.maximum(approximation[used], 1e-9))).sum())


def extremes(values: np.ndarray, axis: int | None) -> Range:
    """The least and the largest value, for each channel where there is an axis."""
    if axis is None:
        return values.min(), values.max()
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    return rows.min(axis=1), rows.max(axis=1)
