"""Intervals from held-out errors: split-conformal quantiles, by group and by how familiar a workload is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
COVERAGE = 0.9
FEWEST = 60  # held-out errors of a group before it has quantiles of its own
OTHERS = "*"


@dataclass(frozen=True)
class Intervals:
    """The 5% and 95% quantiles of log(measured / predicted) of groups of kernels.

    Attributes:
        quantiles: by group; `*` stands for the others.
    """

    quantiles: Mapping[str, tuple[float, float]]

    def of(self, groups: Sequence[str]) -> tuple[Floats, Floats]:
        """The factors from a prediction to the ends of its interval, each of shape (n,)."""
        pairs = [self.quantiles.get(group, self.quantiles[OTHERS]) for group in groups]
        low, high = np.array(pairs, np.float64).reshape(-1, 2).T
        return np.exp(low), np.exp(high)


def conformal(errors: Floats, groups: npt.NDArray[np.str_]) -> Intervals:
    """Quantiles with the finite-sample correction of Vovk et al., "Algorithmic Learning in a Random World" (2005).

    Args:
        errors: log(measured / predicted) of rows that the predictor did not see, shape (n,).
        groups: of the rows.
    """
    found = {OTHERS: _quantiles(errors)}
    for group in np.unique(groups).tolist():
        own = errors[groups == group]
        if len(own) >= FEWEST:
            found[group] = _quantiles(own)
    return Intervals(found)


def _quantiles(errors: Floats) -> tuple[float, float]:
    ordered = np.sort(errors)
    rank = math.ceil((len(ordered) + 1) * (1 + COVERAGE) / 2) - 1
    high = min(rank, len(ordered) - 1)
    return float(ordered[len(ordered) - 1 - high]), float(ordered[high])
