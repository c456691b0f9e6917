"""A histogram of a stream of unknown range in bounded memory."""

from __future__ import annotations

import numpy as np

BINS = 4096
"""A range that has doubled still holds half of them."""


class Histogram:
    """Counts in equal bins over [-limit, limit); the limit doubles, and bins merge in pairs, when a value lies outside.

    Attributes:
        counts: of each bin, or the weights of what lies in it.
        limit: a power of two.
        total: of the counts.
    """

    def __init__(self, bins: int = BINS) -> None:
        self.counts = np.zeros(bins)
        self.limit = 0.0
        self.total = 0.0

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Count finite values of any shape; `weights`, which broadcast over them, say how much each counts."""
        each = None if weights is None else np.broadcast_to(weights, np.shape(values)).reshape(-1)
        values = np.asarray(values, np.float64).reshape(-1)
        if not values.size:
            return
        needed = float(np.abs(values).max())
        if self.limit == 0.0:
            self.limit = float(np.ldexp(1.0, int(np.frexp(needed)[1]))) if needed else 2.0**-126
        while needed >= self.limit:
            self._double()
        bins = len(self.counts)
        places = np.floor((values + self.limit) * (bins / (2 * self.limit))).astype(np.int64)
        self.counts += np.bincount(np.minimum(places, bins - 1), each, bins)
        self.total += values.size if each is None else each.sum()

    def _double(self) -> None:
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros_like(self.counts)
        quarter = len(pairs) // 2
        self.counts[quarter : quarter + len(pairs)] = pairs
        self.limit *= 2

    @property
    def edges(self) -> np.ndarray:
        """The bounds of the bins, one more than bins."""
        return np.linspace(-self.limit, self.limit, len(self.counts) + 1)

    @property
    def centers(self) -> np.ndarray:
        """The middle of each bin."""
        edges = self.edges
        return (edges[1:] + edges[:-1]) / 2

    def quantile(self, share: float) -> float:
        """The value below which a share of all values lies, to the width of a bin."""
        reached = np.concatenate([[0], np.cumsum(self.counts)]) / (self.total or 1.0)
        return float(np.interp(share, reached, self.edges))
