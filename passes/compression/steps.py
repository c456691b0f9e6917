"""The step of each tensor's levels for a number of bits in all.

At a high rate a step costs the model h·d²/12 an element, with h the mean curvature of the tensor, and a bit halves it:
the least total error has the same h·d² everywhere (reverse water-filling; Cover and Thomas, "Elements of Information
Theory", 10.3.3; for networks: Young et al., "Transform Quantization for CNN Compression", 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from optc.passes.compression.entropy import entropy_bits

_TOLERANCE = 1e-3


def levels_of(values: np.ndarray, step: float, dead: float = 0.0) -> np.ndarray:
    """Multiples of a step, as whole numbers, int32: the nearest, or with a dead zone those nearer to zero.

    Args:
        values: of any shape.
        step: of the multiples.
        dead: by how much of a step magnitudes lessen before they are rounded, but not below zero.
    """
    scaled = np.asarray(values, np.float64) / step
    if dead:
        scaled = np.copysign(np.maximum(np.abs(scaled) - dead, 0.0), scaled)
    return np.rint(scaled).astype(np.int32)


def steps_for(
    weights: Mapping[str, np.ndarray],
    curvatures: Mapping[str, float],
    bits: float,
    measure: Callable[[np.ndarray], float] = entropy_bits,
) -> dict[str, float]:
    """A step for each tensor, so that their levels take `bits` together.

    Args:
        weights: by name.
        curvatures: the mean second derivative of the model's error by an element of each.
        bits: for all of them.
        measure: the bits of levels.

    Returns:
        The steps; those of the fewest bits there are (everything zero) where `bits` cannot be reached.
    """
    floor = 1e-6 * max(curvatures.values(), default=1.0) or 1.0
    relative = {name: 1.0 / np.sqrt(max(curvatures[name], floor)) for name in weights}

    def steps(scale: float) -> dict[str, float]:
        return {name: float(np.float32(scale * each)) for name, each in relative.items()}

    largest = max((float(np.abs(weights[name]).max(initial=0.0)) / relative[name] for name in weights), default=1.0)
    low, high = 1e-6 * (largest or 1.0), 4.0 * (largest or 1.0)
    while high / low > 1.0 + _TOLERANCE:
        middle = float(np.sqrt(low * high))
        chosen = steps(middle)
        if sum(measure(levels_of(weights[name], chosen[name])) for name in weights) > bits:
            low = middle
        else:
            high = middle
    return steps(high)
