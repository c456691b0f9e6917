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
MOST_ARGUMENTS = 64
MOST_EVICTED = 1 << 26
NEAR_CACHES = 4  # the near state reads so many times the inner caches
NEAR_ROUNDS, FAR_ROUNDS, FEWEST = 16, 2, 4  # far ones in each of two turns
ENOUGH_SECONDS = 0.03  # of one kernel's calls in one state
SCATTER = 0.06  # of the quarter-point over the least: above it the rounds are repeated
MOST_AGAIN = 3
MOST_NEAR, MOST_FAR = 64, 4  # rounds of a kernel, all repetitions included
LIBRARY_SECONDS = 60.0
IN_C = (
    "ALIGNMENT", "MOST_ARGUMENTS", "MOST_NEAR", "MOST_FAR", "NEAR_ROUNDS", "FAR_ROUNDS", "FEWEST", "ENOUGH_SECONDS",
    "MOST_AGAIN", "SCATTER",
)  # fmt: skip
"""What the C sources beside this module read here."""


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


def outer_bytes(target: Target) -> int:
    """What to read so that weights leave all caches."""
    return min(MOST_EVICTED, max([inner_bytes(target), *(cache.bytes for cache in target.caches)]))


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
            yield number, partial(time_library, job, inner_bytes, outer_bytes)

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
    evicting = ctypes.c_void_p(others.ctypes.data)
    inner, outer = ctypes.c_int64(inner_bytes), ctypes.c_int64(outer_bytes)
    arrays = [[aligned_buffer(shape, dtype) for shape, dtype, _ in buffers] for buffers in job.buffers]
    kernels = (_Kernel * len(arrays))(
        *(
            _kernel(getattr(library, symbol), own, [constant for _, _, constant in buffers])
            for symbol, own, buffers in zip(job.symbols, arrays, job.buffers, strict=True)
        )
    )
    times = (_Times * len(arrays))()
    anchors = library.optc_anchor(), library.optc_anchor_memory(evicting, outer)
    if library.optc_time(kernels, times, len(arrays), evicting, inner, outer):
        raise RuntimeError("a kernel failed")
    return [
        Times(job.library, symbol, each.near[: each.near_count], each.far[: each.far_count], each.again, *anchors)
        for symbol, each in zip(job.symbols, times, strict=True)
    ]


class _Kernel(ctypes.Structure):
    """`struct optc_kernel` of timing.c."""

    _fields_ = (
        ("function", ctypes.c_void_p),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("sizes", ctypes.POINTER(ctypes.c_int64)),
        ("count", ctypes.c_int32),
    )


class _Times(ctypes.Structure):
    """`struct optc_times` of timing.c."""

    _fields_ = (
        ("near_count", ctypes.c_int32),
        ("far_count", ctypes.c_int32),
        ("again", ctypes.c_int32),
        ("near", ctypes.c_double * MOST_NEAR),
        ("far", ctypes.c_double * MOST_FAR),
    )


def _kernel(function: Any, arrays: Sequence[np.ndarray], constant: Sequence[bool]) -> _Kernel:
    """A kernel on buffers of its own, which the caller keeps alive."""
    data = [array for array, fixed in zip(arrays, constant, strict=True) if not fixed]
    return _Kernel(
        ctypes.cast(function, ctypes.c_void_p),
        (ctypes.c_void_p * MOST_ARGUMENTS)(*(array.ctypes.data for array in arrays)),
        (ctypes.c_void_p * max(1, len(data)))(*(array.ctypes.data for array in data)),
        (ctypes.c_int64 * max(1, len(data)))(*(array.nbytes for array in data)),
        len(data),
    )


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
