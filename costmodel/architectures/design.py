"""Which architectures to measure on a new device: those that tell most about its costs and about its runtime's style.

Greedy D-optimal design (Fedorov, 1972) from the prior of the reference devices, for every style at once; a second term
rewards architectures for which two styles predict different latencies, as long as that pair is not told apart yet.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from optc.costmodel.architectures.adaptation import Prior, base_rows, relative_noise
from optc.costmodel.architectures.space import Codes, Space

_NOISE = 0.1
_LEAST = 0.5  # of the median latency: what is shorter is measured too poorly to be worth one of ten samples


def suggest(space: Space, prior: Prior, codes: Codes, count: int) -> list[int]:
    """The rows of `codes` (n, d) to measure, the most telling first; fewer than `count` when there are not as many."""
    expected = {style: np.maximum(base_rows(space, codes, style) @ prior.mean, 0.05) for style in space.styles}
    usable = space.regular(codes)
    for latency in expected.values():
        usable &= latency >= _LEAST * np.median(latency)
    pool = np.flatnonzero(usable)
    rows = {
        style: (base_rows(space, codes, style) / (expected[style] * _NOISE * relative_noise(expected[style]))[:, None])[
            pool
        ]
        for style in space.styles
    }
    logs = {style: _centred(np.log(expected[style])[pool]) for style in space.styles}
    spread = {style: prior.covariance.copy() for style in space.styles}
    pairs = list(combinations(space.styles, 2))
    apart = dict.fromkeys(pairs, 0.0)
    chosen: list[int] = []
    for _ in range(min(count, len(pool))):
        gain = sum(
            np.log1p(np.einsum("ij,jk,ik->i", rows[style], spread[style], rows[style])) for style in space.styles
        )
        for pair in pairs:
            difference = ((logs[pair[0]] - logs[pair[1]]) / _NOISE) ** 2
            gain = gain + np.log1p(apart[pair] + difference) - np.log1p(apart[pair])
        gain = np.asarray(gain)
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        chosen.append(best)
        for style in space.styles:
            moved = spread[style] @ rows[style][best]
            spread[style] = spread[style] - np.outer(moved, moved) / (1.0 + rows[style][best] @ moved)
        for pair in pairs:
            apart[pair] += float(((logs[pair[0]] - logs[pair[1]])[best] / _NOISE) ** 2)
    return [int(index) for index in pool[chosen]]


def _centred(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return values - values.mean()
