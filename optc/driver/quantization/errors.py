"""Power of a signal and of its error, summed over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Noise:
    """Signal against error, in all and for each channel.

    Attributes:
        axis: of the channels; None for none.
        signal: sums of squares, one for each channel.
        error: likewise.
    """

    axis: int | None = None
    signal: np.ndarray = field(default_factory=lambda: np.zeros(1))
    error: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def add(self, wanted: np.ndarray, found: np.ndarray) -> None:
        """Take in one batch."""
        wanted = np.asarray(wanted, np.float64)
        difference = np.asarray(found, np.float64) - wanted
        axis = None if self.axis is None else self.axis % wanted.ndim
        others = tuple(each for each in range(wanted.ndim) if each != axis)
        self.signal = self.signal + np.square(wanted).sum(axis=others)
        self.error = self.error + np.square(difference).sum(axis=others)

    @property
    def snr_db(self) -> float:
        """Of all channels together, in decibels; infinite where nothing differs."""
        return decibels(float(self.signal.sum()), float(self.error.sum()))

    @property
    def worst(self) -> tuple[int, float]:
        """The channel with the lowest ratio, and that."""
        ratios = [decibels(float(s), float(e)) for s, e in zip(self.signal, self.error, strict=True)]
        channel = int(np.argmin(ratios))
        return channel, ratios[channel]


def decibels(signal: float, error: float) -> float:
    """A ratio of powers."""
    if error == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / error) if signal > 0.0 else -math.inf
