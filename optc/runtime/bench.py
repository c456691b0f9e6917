"""Measure an artifact's latency."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from optc.runtime.loaded import Artifact
from optc.runtime.random_inputs import random_inputs

MIN_RUNS = 5
_WARM_UP_SHARE = 0.2


@dataclass(frozen=True)
class BenchResult:
    """Latency of one run in seconds: median, 5th and 95th percentile, minimum; how many runs, on how many threads."""

    median: float
    p05: float
    p95: float
    min: float
    runs: int
    threads: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    artifact: Artifact,
    inputs: Mapping[str, Any] | None = None,
    seconds: float = 1.0,
    threads: int | None = None,
) -> BenchResult:
    """Run for about `seconds` after a warm-up of a fifth of that, at least 5 times.

    Args:
        artifact: a loaded artifact; its number of threads is restored afterwards.
        inputs: as for `Artifact.run`; None for random ones.
        seconds: how long to measure.
        threads: None for the artifact's.
    """
    values = random_inputs(artifact.inputs) if inputs is None else inputs
    before = artifact.threads
    if threads is not None and threads != before:
        artifact.threads = threads
    try:
        _times(artifact, values, seconds * _WARM_UP_SHARE, 1)
        times = _times(artifact, values, seconds, MIN_RUNS)
        used = artifact.threads
    finally:
        if artifact.threads != before:
            artifact.threads = before
    return summarize(times, used)


def summarize(times: list[float], threads: int) -> BenchResult:
    """The result of runs that took so many seconds each."""
    p05, median, p95 = (float(value) for value in np.percentile(times, [5, 50, 95]))
    return BenchResult(median, p05, p95, float(min(times)), len(times), threads)


def _times(artifact: Artifact, inputs: Mapping[str, Any], seconds: float, least: int) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        artifact.run(inputs)
        times.append(time.perf_counter() - start)
    return times
