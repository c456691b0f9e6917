"""Running estimates with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable

_SURPRISE = 1.5  # standard deviations beyond which a sample is a change and no noise
_LARGEST = 0.7  # of the errors that count for the variance: a factor of two

_LEAST_FIXED, _STEP, _CANDIDATES = 0.002, 1.5, 15  # seconds: 2 ms to 0.6 s
_FORGET = 0.95  # of what is held against a candidate, with each exchange
_TELLING = 0.4  # logarithm: sizes that are 1.5 times one another
_WARM = 2  # exchanges at first that take longer than others: what they need is loaded and waked up
_CLEAR = 0.5  # squared logarithms: one exchange that took twice as long as predicted


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


class TransferEstimate:
    """The rate of a link together with what every exchange takes beside it, from exchanges of several sizes.

    Waking up, framing and sealing take a slow device longer than a ping shows; taken for slowness of the link, that
    would make every other size look wrong. Each candidate for this fixed part has a rate estimate of its own, and the
    one whose predictions of past exchanges were best holds. No fixed part is what is believed until that predicts
    clearly worse: exchanges of one size cannot tell them apart.

    Args:
        rate: bytes per second to begin with.
    """

    def __init__(self, rate: float) -> None:
        self._fixed = (0.0, *(_LEAST_FIXED * _STEP**power for power in range(_CANDIDATES)))
        self._rates = [RateEstimate(rate) for _ in self._fixed]
        self._faults = [0.0] * len(self._fixed)
        self._held = 0
        self._size = math.inf
        self._exchanges = 0

    @property
    def held(self) -> RateEstimate:
        """The rate."""
        return self._rates[self._held]

    @property
    def overhead(self) -> float:
        """Seconds of every exchange beside moving bytes, RTT and the server's time."""
        return self._fixed[self._held]

    def exchange(self, size: float, seconds: float) -> None:
        """So many bytes took so long; the fixed part is in it, and the RTT and the server's time are not."""
        self._judge(size, lambda predicted: abs(math.log(seconds / predicted)))
        for place, (fixed, rate) in enumerate(zip(self._fixed, self._rates, strict=True)):
            if seconds > fixed:
                rate.add(size / (seconds - fixed))
            else:
                # What every exchange takes is no more than what this one took.
                self._faults[place] += _LARGEST**2
        if seconds <= self.overhead:
            possible = [place for place, fixed in enumerate(self._fixed) if fixed < seconds]
            self._held = min(possible, key=self._faults.__getitem__, default=0)

    def at_most(self, size: float, seconds: float) -> None:
        """An exchange of so many bytes was given up after so long."""
        self._judge(size, lambda predicted: math.log(max(seconds / predicted, 1.0)))
        for fixed, rate in zip(self._fixed, self._rates, strict=True):
            if seconds > fixed:
                rate.at_most(size / (seconds - fixed))

    def probe(self, rate: float) -> None:
        """A probe, whose fixed part is that of a ping, went at so many bytes per second."""
        for each in self._rates:
            each.add(rate)
        self._size = math.inf

    def _judge(self, size: float, fault: Callable[[float], float]) -> None:
        """Hold against each candidate how wrong its prediction was, and take the best one."""
        # Where sizes are alike, candidates differ in how they follow changes of the rate, which is no evidence.
        telling = self._exchanges >= _WARM and abs(math.log(self._size / size)) > _TELLING
        self._size = size
        self._exchanges += 1
        if not telling:
            return
        for place, (fixed, rate) in enumerate(zip(self._fixed, self._rates, strict=True)):
            square = min(fault(fixed + size / rate.rate()), _LARGEST) ** 2
            self._faults[place] = _FORGET * self._faults[place] + square
        least = min(self._faults)
        if self._faults[self._held] - least > _CLEAR:
            self._held = self._faults.index(least)
        if self._held and self._faults[0] - least < _CLEAR / 2:
            self._held = 0


class Mean:
    """An exponentially weighted mean."""

    def __init__(self, value: float, weight: float = 0.3) -> None:
        self.value = value
        self._weight = weight

    def add(self, sample: float) -> None:
        """One more sample."""
        if math.isfinite(sample):
            self.value += self._weight * (sample - self.value)
