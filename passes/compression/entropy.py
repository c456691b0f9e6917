"""How many bits whole numbers take when they are entropy coded."""

from __future__ import annotations

import numpy as np


def entropy_bits(levels: np.ndarray) -> float:
    """Bits of all the numbers together under their own histogram: Shannon's bound for a coder without context."""
    _, counts = np.unique(levels, return_counts=True)
    shares = counts / max(1, levels.size)
    return float(-(counts * np.log2(shares)).sum())


def geometric_bits(mean: np.ndarray | float) -> np.ndarray:
    """Bits of one number of the two-sided geometric distribution with a mean magnitude.

    Of all distributions over the whole numbers with this mean magnitude it has the highest entropy, so this bounds the
    bits of any of them, and unlike the entropy of a histogram it has a slope.
    """
    mean = np.maximum(np.asarray(mean, np.float64), 1e-12)
    # mean = 2r / (1 - r^2) for p(k) = (1 - r) / (1 + r) r^|k|
    ratio = mean / (1.0 + np.sqrt(1.0 + mean**2))
    return np.log2((1 + ratio) / (1 - ratio)) - mean * np.log2(ratio)
