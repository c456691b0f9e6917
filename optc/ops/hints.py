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

DENSITY = "density"
"""On MatMul and Gemm: the share of the first operand's elements that is not zero, as samples show it."""

HINTS = frozenset({WEIGHT_LIMIT, DENSITY})

DENSITY_KEY = "optc.density"
"""Of a node's metadata in an ONNX file."""

_MULTIPLY = frozenset({"onnx.MatMul", "onnx.Gemm"})

_SHORT = 64  # below the range of int8 only this much tells kernels anything


def weight_hints(weight: np.ndarray) -> dict[str, Attribute]:
    """The hints for an integer contraction with a constant int8 weight."""
    largest = int(np.abs(weight.astype(np.int16)).max(initial=0))
    return {WEIGHT_LIMIT: _SHORT} if largest <= _SHORT else {}


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
