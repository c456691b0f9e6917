"""Attributes of our own on ONNX operations: what is known of constants that kernels are made without seeing.

They change nothing that is computed. ONNX models are written without them, but for the density, which goes into the
metadata of its node.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from optc.ir.core import Attribute, Operation

WEIGHT_LIMIT = "weight_limit"
"""On ConvInteger and MatMulInteger: an absolute value that no weight exceeds."""

WEIGHT_SUM = "weight_sum"
"""On ConvInteger: a number that neither the positive weights of an output nor its negative ones exceed in sum."""

DENSITY = "density"
"""On MatMul and Gemm: the share of the first operand's elements that is not zero, as samples show it."""

HINTS = frozenset({WEIGHT_LIMIT, WEIGHT_SUM, DENSITY})

DENSITY_KEY = "optc.density"
"""Of a node's metadata in an ONNX file."""

_MULTIPLY = frozenset({"onnx.MatMul", "onnx.Gemm"})

_SHORT = 64  # below the range of int8 only this much tells kernels anything
_SMALL_SUM = (1 << 17) - 1  # with bytes at most 2^25: what Winograd's algorithms in 32 bits are exact for
_WINDOW = (3, 3)  # of the convolutions that have such kernels


def weight_hints(weight: np.ndarray) -> dict[str, Attribute]:
    """The hints for an integer contraction with a constant int8 weight."""
    hints: dict[str, Attribute] = {}
    if int(np.abs(weight.astype(np.int16)).max(initial=0)) <= _SHORT:
        hints[WEIGHT_LIMIT] = _SHORT
    if weight.shape[2:] == _WINDOW and 128 * weight[0].size > _SMALL_SUM:
        axes = (1, 2, 3)
        rising = np.maximum(weight, 0).sum(axis=axes, dtype=np.int64)
        falling = np.minimum(weight, 0).sum(axis=axes, dtype=np.int64)
        if max(int(rising.max()), int(-falling.min())) <= _SMALL_SUM:
            hints[WEIGHT_SUM] = _SMALL_SUM
    return hints


def density_of(operation: Operation) -> float | None:
    """The density that is noted on an operation; None where there is none, or it is no share."""
    noted = operation.attributes.get(DENSITY) if operation.name in _MULTIPLY else None
    return noted if isinstance(noted, float) and 0 < noted <= 1 else None


def density_from(metadata: Mapping[str, str]) -> dict[str, Attribute]:
    """The hint in a node's metadata."""
    try:
        return {DENSITY: float(metadata[DENSITY_KEY])}
    except (KeyError, ValueError):
        return {}
