"""Sums of the weights, by which the runtime notices bits that changed in memory or on disk."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

BLOCK_BYTES = 4096
SHARE = 0.03
"""Of a run's time that may go into checking weights."""


@dataclass(frozen=True)
class Guard:
    """What the runtime compares with.

    Attributes:
        bytes: of the weights.
        blocks_a_run: how many blocks each run checks, in turn.
        sums: uint64 [blocks, 2]: of each block, its 64-bit words added, and their exclusive or.
    """

    bytes: int
    blocks_a_run: int
    sums: np.ndarray

    @property
    def runs(self) -> int:
        """After how many runs every block was checked."""
        return math.ceil(len(self.sums) / self.blocks_a_run)

    def source(self) -> str:
        """The table in C, called `guard`."""
        rows = "".join(f"    {{{total:#x}u, {odd:#x}u}},\n" for total, odd in self.sums.tolist())
        fields = f"{{{self.bytes}, {BLOCK_BYTES}, {self.blocks_a_run}, guard_sums}}"
        return f"static const uint64_t guard_sums[][2] = {{\n{rows}}};\n\nstatic const optc_guard guard = {fields};"


def guard_of(chunks: Iterable[memoryview | bytes], seconds: float, bandwidth: float) -> Guard | None:
    """The guard of weights; None where there are none.

    Args:
        chunks: the weights; together a multiple of 64 bytes.
        seconds: that a run is predicted to take; the checks take SHARE of it.
        bandwidth: bytes a second that one core reads.
    """
    content = np.frombuffer(b"".join(chunks), "<u8")
    if not content.size:
        return None
    blocks = math.ceil(content.nbytes / BLOCK_BYTES)
    words = np.zeros(blocks * BLOCK_BYTES // 8, np.uint64)
    words[: content.size] = content
    table = words.reshape(blocks, -1)
    sums = np.stack([table.sum(1, dtype=np.uint64), np.bitwise_xor.reduce(table, axis=1)], axis=1)
    affordable = int(SHARE * seconds * bandwidth / BLOCK_BYTES)
    return Guard(content.nbytes, min(blocks, max(1, affordable)), sums)
