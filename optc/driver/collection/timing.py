"""Time built libraries: a process of its own, in which each library runs in a forked child that may crash.

    python -m optc.driver.collection.timing FOLDER

reads FOLDER/jobs.json and appends a line of JSON to FOLDER/times.jsonl for each kernel, as it is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from optc.backends.tvm.tuning.measure import ALIGNMENT, aligned_buffer
from optc.backends.tvm.tuning.workers import Task, run_isolated
from optc.targets.target import Target

JOBS, TIMES = "jobs.json", "times.jsonl"
MOST_EVICTED = 1 << 26
NEAR_CACHES = 4  # the near state reads so many times the inner caches
NEAR_ROUNDS, FAR_ROUNDS, FEWEST = 16, 2, 4  # far ones in each of two turns
ENOUGH_SECONDS = 0.03  # of one kernel's calls in one state
SCATTER = 0.06  # of the quarter-point over the least: above it the rounds are repeated
LIBRARY_SECONDS = 60.0


@dataclass(frozen=True)
class Job:
    """A library with its kernels: symbols, and (stored shape, element type, constant) of each argument."""

    library: str
    symbols: list[str]
    buffers: list[list[tuple[list[int], str, bool]]]


@dataclass(frozen=True)
class Times:
    """What was measured of one kernel; seconds. See `Row` for the fields of the same names."""

    library: str
    symbol: str
    near: list[float]
    far: list[float]
    again: int
    anchor: float
    anchor_memory: float


def inner_bytes(target: Target) -> int:
    """What to read so that weights leave the caches of one core."""
    return NEAR_CACHES * sum(cache.bytes for cache in target.caches if not cache.shared)


def time_all(folder: Path, inner_bytes: int, outer_bytes: int) -> None:
    """Time the jobs of a folder.

    Args:
        folder: see above.
        inner_bytes: of the caches that are emptied of weights in the near state.
        outer_bytes: likewise in the far state.
    """
    jobs = [Job(**each) for each in json.loads((folder / JOBS).read_text(encoding="utf-8"))]

    def tasks() -> Iterator[tuple[int, Task]]:
        for number, job in enumerate(jobs):
            yield number, partial(time_library, job, inner_bytes, min(outer_bytes, MOST_EVICTED))

    with (folder / TIMES).open("a", encoding="utf-8") as file:
        for number, times in run_isolated(tasks(), 1, LIBRARY_SECONDS, math.inf):
            for each in times or []:
                file.write(json.dumps(asdict(each)) + "\n")
            if times is None:
                file.write(json.dumps({"library": jobs[number].library, "failed": True}) + "\n")
            file.flush()


def time_library(job: Job, inner_bytes: int, outer_bytes: int) -> list[Times]:
    """Time the kernels of one library, in two turns of half of the rounds each."""
    library = ctypes.CDLL(job.library)
    library.optc_anchor.restype = library.optc_anchor_memory.restype = ctypes.c_double
    others = np.ones(max(outer_bytes, inner_bytes) + ALIGNMENT, np.uint8)
    kernels = [
        _Kernel(library, symbol, buffers, others) for symbol, buffers in zip(job.symbols, job.buffers, strict=True)
    ]
    anchors = (
        library.optc_anchor(),
        library.optc_anchor_memory(ctypes.c_void_p(others.ctypes.data), ctypes.c_int64(outer_bytes)),
    )
    near: list[list[float]] = [[] for _ in kernels]
    far: list[list[float]] = [[] for _ in kernels]
    again = [0] * len(kernels)
    for _ in range(2):
        for number, kernel in enumerate(kernels):
            first = kernel.rounds(inner_bytes, 2)[-1]
            count = max(FEWEST // 2, min(NEAR_ROUNDS // 2, int(ENOUGH_SECONDS / 2 / max(first, 1e-9))))
            near[number] += kernel.rounds(inner_bytes, count)
            far[number] += kernel.rounds(outer_bytes, FAR_ROUNDS)
    for number, kernel in enumerate(kernels):
        while again[number] < 3 and _scatter(near[number]) > SCATTER:
            again[number] += 1
            near[number] += kernel.rounds(inner_bytes, max(FEWEST, len(near[number]) // 2))
    return [
        Times(job.library, symbol, near[number], far[number], again[number], *anchors)
        for number, symbol in enumerate(job.symbols)
    ]


def _scatter(seconds: Sequence[float]) -> float:
    ordered = sorted(seconds)
    return ordered[len(ordered) // 4] / ordered[0] - 1.0


class _Kernel:
    """One kernel with buffers of its own."""

    def __init__(
        self, library: Any, symbol: str, buffers: Sequence[tuple[list[int], str, bool]], others: np.ndarray
    ) -> None:
        self._library = library
        self._function = ctypes.cast(getattr(library, symbol), ctypes.c_void_p)
        self._arrays = [aligned_buffer(shape, dtype) for shape, dtype, _ in buffers]
        self._others = ctypes.c_void_p(others.ctypes.data)
        self._arguments = (ctypes.c_void_p * 64)(*(array.ctypes.data for array in self._arrays))
        data = [array for array, (_, _, constant) in zip(self._arrays, buffers, strict=True) if not constant]
        self._data = (ctypes.c_void_p * max(1, len(data)))(*(array.ctypes.data for array in data))
        self._sizes = (ctypes.c_int64 * max(1, len(data)))(*(array.nbytes for array in data))
        self._count = len(data)

    def rounds(self, evicted: int, rounds: int) -> list[float]:
        """Seconds of single calls."""
        seconds = (ctypes.c_double * rounds)()
        failed = self._library.optc_rounds(
            self._function, self._arguments, self._data, self._sizes, self._count, self._others,
            ctypes.c_int64(evicted), rounds, seconds,
        )  # fmt: skip
        if failed:
            raise RuntimeError("the kernel failed")
        return list(seconds)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other collection of this user times kernels on this machine."""
    import fcntl

    with (Path(tempfile.gettempdir()) / f"optc-timing-{os.getuid()}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> None:
    """See the module's text: FOLDER, then the bytes of the near and of the far state."""
    start = time.monotonic()
    with _alone():
        time_all(Path(arguments[0]), int(arguments[1]), int(arguments[2]))
    print(f"{time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
