"""The price of blocks: traffic that is saved, rows that are computed again, and weights that every tile reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from optc.costmodel.blocks import StageCost, block_seconds
from optc.targets import load
from optc.targets.target import Cache

MEGABYTE = 1 << 20
TARGET = replace(
    load("rpi4"),
    caches=(Cache(32 * 1024, False, 100e9), Cache(MEGABYTE, False, 20e9)),
    memory_bandwidth=1e9,
)


def seconds(*stages: StageCost, threads: int = 1) -> float:
    return block_seconds(stages, TARGET, threads, 0.0)


EMPTY = StageCost(arithmetic=0.0, read=0, written=0, weights=0, handed=0, rows=64, images=1)


def stage(**figures: Any) -> StageCost:
    return replace(EMPTY, **figures)


def test_what_lies_between_stages_moves_at_the_speed_of_the_cache() -> None:
    between = 8 * MEGABYTE
    block = seconds(stage(read=4 * MEGABYTE, handed=between), stage(written=4 * MEGABYTE))
    assert block == pytest.approx(8 * MEGABYTE / 1e9 + 2 * between / 20e9)


def test_rings_beyond_the_cache_save_nothing() -> None:
    """Sixty-four rows of the first stage are needed for each row of the second."""
    between = 8 * MEGABYTE
    block = seconds(stage(handed=between), stage(window=64))
    assert block == pytest.approx(2 * between / 1e9)


def test_each_tile_reads_the_weights() -> None:
    """One row is half of the cache, so that there are as many tiles as rows."""
    row = MEGABYTE // 2
    block = seconds(stage(handed=64 * row, weights=MEGABYTE // 4), stage())
    moved = 2 * 64 * row + 63 * MEGABYTE // 4
    assert block == pytest.approx(moved / 20e9 + MEGABYTE / 4 / 20e9)


def test_threads_compute_the_rows_between_them_again() -> None:
    first, second = stage(arithmetic=64e-3, handed=1), stage(arithmetic=1e-3, window=5)
    assert seconds(first, second) == pytest.approx(65e-3, rel=1e-3)
    assert seconds(first, second, threads=3) == pytest.approx(65e-3 + 2 * 4 * 1e-3, rel=1e-3)


def test_images_of_a_batch_have_no_rows_in_common() -> None:
    first, second = (stage(arithmetic=1e-3, images=4, handed=4, window=5) for _ in range(2))
    assert seconds(first, second, threads=4) == pytest.approx(seconds(first, second), rel=1e-3)
