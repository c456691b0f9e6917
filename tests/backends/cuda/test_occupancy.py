"""Residency against worked examples of the CUDA occupancy rules."""

from __future__ import annotations

import pytest

from optc.backends.cuda.occupancy import CAPABILITIES, residency


@pytest.mark.parametrize(
    ("arch", "threads", "registers", "shared", "blocks", "occupancy", "limiter"),
    [
        ("sm_80", 256, 32, 0, 8, 1.0, "threads"),
        ("sm_80", 256, 64, 0, 4, 0.5, "registers"),
        ("sm_80", 256, 33, 0, 6, 0.75, "registers"),  # registers are given out eight at a time
        ("sm_80", 32, 16, 0, 32, 0.5, "blocks"),
        ("sm_80", 128, 32, 40_960, 4, 0.25, "shared memory"),
        ("sm_86", 1024, 40, 0, 1, 2 / 3, "threads"),
        ("sm_87", 128, 168, 20_480, 3, 0.25, "registers"),
        ("sm_75", 256, 64, 32_768, 2, 0.5, "shared memory"),
        ("sm_90", 384, 168, 0, 1, 0.1875, "registers"),
    ],
)
def test_residency(
    arch: str, threads: int, registers: int, shared: int, blocks: int, occupancy: float, limiter: str
) -> None:
    found = residency(CAPABILITIES[arch], threads, registers, shared)
    assert (found.blocks, found.occupancy, found.limiter) == (blocks, pytest.approx(occupancy), limiter)
