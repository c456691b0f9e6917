"""What a number format is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Format(ABC):
    """A set of numbers that values are rounded to."""

    @property
    @abstractmethod
    def bits(self) -> float:
        """Bits of one element; with its share of what a block has in common."""

    @property
    @abstractmethod
    def largest(self) -> float:
        """The largest finite number; of a block, when its exponent is 0."""

    @abstractmethod
    def round(self, values: np.ndarray, mode: str = "nearest-even", *, seed: int = 0) -> np.ndarray:
        """The number of the format that each value is rounded to.

        Args:
            values: floats of any shape.
            mode: a name of `ROUNDINGS`.
            seed: of the stochastic modes.

        Returns:
            float64 of the same shape. Values beyond the largest number become it, also infinite ones; NaN stays.

        Raises:
            UsageError: the mode is unknown.
        """
