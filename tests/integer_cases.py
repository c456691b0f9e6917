"""Data, weights and targets of integer contractions, and their sums by definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from optc.ir import dtypes
from optc.ir.core import Value
from optc.targets import Target, load
from optc.targets.host import detect, flags_of
from tests.contraction_cases import GroupBuilder

U8 = dtypes.BY_NAME["u8"]
RUNNING = {
    "x86-64-v2": ("x86-64-v2", 16, 16),
    "x86-64-v3": ("x86-64-v3", 32, 16),
    "x86-64-v4": ("x86-64-v4", 64, 32),
    "host": ("", 0, 0),
}


@lru_cache
def target_of(level: str) -> Target:
    mcpu, vector_bytes, registers = RUNNING[level]
    host = load("cpu")
    if not mcpu:
        return host
    if detect().architecture != "x86_64" or not flags_of(mcpu) <= detect().flags:
        pytest.skip(f"this machine does not run code for {mcpu}")
    return replace(
        host,
        llvm={**host.llvm, "mcpu": mcpu},
        vector_bytes=vector_bytes,
        vector_registers=registers,
    )


def zero_point(builder: GroupBuilder, zero: int) -> Value:
    return builder.graph.constant(np.array(zero, np.uint8), "zero", before=None)


def convolution(
    data: np.ndarray,
    weight: np.ndarray,
    zero: int,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int = 1,
) -> np.ndarray:
    """The sums by definition, int32."""
    rank = data.ndim - 2
    centered = data.astype(np.int64) - zero
    widths = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    padded = np.pad(centered, widths)
    spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, data.ndim)))
    steps = (slice(None), slice(None), *(slice(None, None, s) for s in strides))
    windows = windows[(*steps, *(slice(None, None, d) for d in dilations))]
    inner, outer = weight.shape[1], weight.shape[0] // groups
    parts = []
    for number in range(groups):
        mine = windows[:, number * inner : (number + 1) * inner]
        own = weight[number * outer : (number + 1) * outer].astype(np.int64)
        axes = (1, *range(2 + rank, 2 + 2 * rank))
        parts.append(np.moveaxis(np.tensordot(mine, own, (axes, (1, *range(2, 2 + rank)))), -1, 1))
    return np.concatenate(parts, axis=1).astype(np.int32)


def extremes(rng: np.random.Generator, shape: Sequence[int], values: Sequence[int], dtype: type) -> np.ndarray:
    """Mostly the values at which 16 bits overflow."""
    rare = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape)
    return np.where(rng.random(shape) < 0.8, rng.choice(values, shape), rare).astype(dtype)
