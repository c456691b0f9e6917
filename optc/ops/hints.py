"""Attributes of our own on ONNX operations: what is known of constants that kernels are made without seeing.

They change nothing that is computed, and ONNX models are written without them.
"""

from __future__ import annotations

import numpy as np

from optc.ir.core import Attribute

WEIGHT_LIMIT = "weight_limit"
"""On ConvInteger and MatMulInteger: an absolute value that no weight exceeds."""

HINTS = frozenset({WEIGHT_LIMIT})

_SHORT = 64  # below the range of int8 only this much tells kernels anything


def weight_hints(weight: np.ndarray) -> dict[str, Attribute]:
    """The hints for an integer contraction with a constant int8 weight."""
    largest = int(np.abs(weight.astype(np.int16)).max(initial=0))
    return {WEIGHT_LIMIT: _SHORT} if largest <= _SHORT else {}
