"""Which kind of kernel a workload is, read from its features."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.interface import Candidate
from optc.costmodel.kernels.features import WORKLOAD_FEATURES
from optc.ir.types import TensorType

_ANCHOR = WORKLOAD_FEATURES.index("anchor_kind")
_NAMES = {4.0: "contraction", 4.5: "depthwise", 3.0: "window", 2.0: "reduction", 1.0: "pointwise"}


def anchor_labels(rows: npt.NDArray[np.floating[Any]]) -> list[str]:
    """The kind of the operation that shapes each kernel, from workload features of shape (n, features)."""
    return [_NAMES.get(float(value), "other") for value in np.asarray(rows)[:, _ANCHOR]]


def patterns(rows: npt.NDArray[np.floating[Any]]) -> list[str]:
    """How each kernel is put together: its kind, what stands before the anchor, blocks, movements, several anchors.

    Distances say little about combinations that were never made; a kernel of a pattern that was hardly measured is
    unlike the others however near it is.
    """
    table = np.asarray(rows)
    # Many rows have few patterns: each is put into words once.
    signs = table[:, _PATTERN] > 0.5
    codes = table[:, _ANCHOR] * (1 << len(_SIGNS)) + signs @ (1 << np.arange(len(_SIGNS)))
    _, first, number = np.unique(codes, return_index=True, return_inverse=True)
    named = [
        label + "".join(sign if set_ else "-" for sign, set_ in zip(_SIGNS, flags, strict=True))
        for label, flags in zip(anchor_labels(table[first]), signs[first].tolist(), strict=True)
    ]
    return [named[each] for each in number.tolist()]


def types_in(text: str) -> set[str]:
    """The element types of the tensors in a group's text."""
    return set(_TYPE.findall(text))


def types_of(candidate: Candidate) -> set[str]:
    """The element types of the values that a kernel reads, writes or works out."""
    values = [*candidate.inputs, *(result for operation in candidate.operations for result in operation.results)]
    return {value.type.dtype.name for value in values if isinstance(value.type, TensorType)}


_TYPE = re.compile(r"tensor<(?:[^<>]*?x)?([a-z]+\d*)[,>]")
_PATTERN = [
    WORKLOAD_FEATURES.index(name)
    for name in ("log_before", "plain_data", "plain_result", "log_scattered", "count_reduction", "count_window")
]
_SIGNS = "bdrsnw"
