"""Which kind of kernel a workload is, read from its features."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.kernels.features import WORKLOAD_FEATURES

_ANCHOR = WORKLOAD_FEATURES.index("anchor_kind")
_NAMES = {4.0: "contraction", 4.5: "depthwise", 3.0: "window", 2.0: "reduction", 1.0: "pointwise"}


def anchor_labels(rows: npt.NDArray[np.floating[Any]]) -> list[str]:
    """The kind of the operation that shapes each kernel, from workload features of shape (n, features)."""
    return [_NAMES.get(float(value), "other") for value in np.asarray(rows)[:, _ANCHOR]]
