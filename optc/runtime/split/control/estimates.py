"""Running estimates with their uncertainty."""

from __future__ import annotations

import math

_SURPRISE = 1.5  # standard deviations beyond which a sample is a change and no noise
_LARGEST = 0.7  # of the errors that count for the variance: a factor of two


class RateEstimate:
    """How long a byte takes, and how sure that is, from transfers of the past.

    Seconds per byte, and not bytes per second, are averaged: they are what adds up in a transfer. Logarithms, since
    rates of radio links vary by factors. Old knowledge grows uncertain with time.

    Args:
        rate: bytes per second to begin with.
        weight: of a new sample.
        spread: standard deviation of the logarithm to begin with.
        drift: by which its variance grows in a second without samples.
    """

    def __init__(self, rate: float, *, weight: float = 0.5, spread: float = 0.7, drift: float = 0.02) -> None:
        self._log = -math.log(rate)
        self._variance = spread**2
        self._weight = weight
        self._drift = drift
        self._first = True

    def add(self, rate: float) -> None:
        """A transfer went at so many bytes per second."""
        if not 0 < rate < math.inf:
            return
        sample = -math.log(rate)
        if self._first:
            self._log, self._first = sample, False
            return
        error = sample - self._log
        # A sudden fall or rise is followed at once, noise is averaged; how far a jump went says little of the noise.
        surprising = error**2 > _SURPRISE**2 * self._variance
        self._log += error if surprising else self._weight * error
        self._variance += self._weight * (min(error**2, _LARGEST**2) - self._variance)
        self._variance = max(self._variance, 1e-4)

    def at_most(self, rate: float) -> None:
        """A transfer was given up when it would have needed this rate to be done."""
        if 0 < rate < self.rate():
            self.add(rate)

    def rate(self, caution: float = 0.0, age: float = 0.0) -> float:
        """Bytes per second, lower by `caution` standard deviations, `age` seconds after the last sample."""
        return math.exp(-self._log - caution * self.spread(age))

    def spread(self, age: float = 0.0) -> float:
        """Standard deviation of the logarithm."""
        return math.sqrt(self._variance + self._drift * max(age, 0.0))


class Mean:
    """An exponentially weighted mean."""

    def __init__(self, value: float, weight: float = 0.3) -> None:
        self.value = value
        self._weight = weight

    def add(self, sample: float) -> None:
        """One more sample."""
        if math.isfinite(sample):
            self.value += self._weight * (sample - self.value)
