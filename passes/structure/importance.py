"""How much of a layer's result rests on each unit of channels, on data.

A channel counts with the mean square of its values times the squares of the weights that read it, as a share of the
power of all that those weights read, summed over the layers that read it: the weights' norm and the activations' in one
(as in Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", 2024, for single weights).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from optc.ir.core import Value
from optc.passes.structure.channels import Channels


def importance(channels: Channels, powers: Mapping[Value, np.ndarray]) -> dict[int, float]:
    """By unit, what the layers that read it would miss.

    Args:
        channels: of a graph.
        powers: around the mean (which a bias replaces), of each channel of what layers read, by value.
    """
    found: dict[int, float] = {}
    for item in channels.slices:
        data, weight = item.operation.operands[0], item.operation.operands[1]
        if not item.reads or data is None or weight is None or weight.constant is None or data not in powers:
            continue
        power = powers[data]
        squares = np.square(weight.constant, dtype=np.float64)
        others = tuple(axis for axis in range(squares.ndim) if axis != item.axis)
        strength = squares.sum(axis=others)
        # With groups, each column of the weights reads the channels at its place in every group.
        share = strength * power.reshape(-1, len(strength)).sum(axis=0)
        share /= max(share.sum(), 1e-30)
        for unit, part in zip(channels.units(item.ids).tolist(), share.tolist(), strict=True):
            found[unit] = found.get(unit, 0.0) + part
    return found
