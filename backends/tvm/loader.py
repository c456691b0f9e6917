"""Load compiled kernels into this process, to test them and to time them."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from optc.backends.host.link import runtime_sources
from optc.toolchain import find_compiler

ALIGNMENT = 64
_MOST_ARGUMENTS = 64

# Calling a C function with more arguments than it takes is harmless in the calling conventions of these targets.
_HARNESS = f"""
#include <stdint.h>
#include <time.h>
#include "pool.h"

typedef int32_t (*kernel)({", ".join(["void*"] * _MOST_ARGUMENTS)});

double optc_call(void* function, void** a, int repeats, int threads) {{
    static optc_pool* pool;
    if (pool && optc_pool_threads(pool) != threads) {{ optc_pool_destroy(pool); pool = 0; }}
    if (!pool) pool = optc_pool_create(threads, false, 50);
    optc_worker* previous;
    if (!pool || !optc_pool_enter(pool, &previous)) return -1.0;
    struct timespec start, end;
    int32_t failed = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < repeats; ++i)
        failed |= ((kernel)function)({", ".join(f"a[{i}]" for i in range(_MOST_ARGUMENTS))});
    clock_gettime(CLOCK_MONOTONIC, &end);
    optc_pool_leave(pool, previous);
    if (failed) return -1.0;
    return (end.tv_sec - start.tv_sec + 1e-9 * (end.tv_nsec - start.tv_nsec)) / repeats;
}}
"""


def aligned(shape: Sequence[int], dtype: np.dtype, like: np.ndarray | None = None) -> np.ndarray:
    """A new array on a 64-byte boundary, as kernels require: a copy of `like`, or zeros."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.zeros(size + 2 * ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    array = raw[start : start + size].view(dtype).reshape(shape)
    if like is not None:
        array[...] = like
    return array


class LoadedKernels:
    """The functions of a loaded object file, by symbol."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._library.optc_call.restype = ctypes.c_double
        self._library.optc_call.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)

    def run(self, symbol: str, arrays: Sequence[np.ndarray], *, threads: int = 1) -> None:
        """Call a kernel once on C-contiguous arrays made by `aligned`; outputs are written in place."""
        self.time(symbol, arrays, repeats=1, threads=threads)

    def time(self, symbol: str, arrays: Sequence[np.ndarray], *, repeats: int, threads: int = 1) -> float:
        """Mean seconds of one call over `repeats` calls in a row."""
        assert len(arrays) <= _MOST_ARGUMENTS
        pointers = (ctypes.c_void_p * _MOST_ARGUMENTS)(*(array.ctypes.data for array in arrays))
        function = ctypes.cast(getattr(self._library, symbol), ctypes.c_void_p)
        seconds = float(self._library.optc_call(function, pointers, repeats, threads))
        assert seconds >= 0, f"kernel {symbol} failed"
        return seconds


def load_kernels(object_code: bytes) -> LoadedKernels:
    """Link an object file with the C runtime's thread pool and load it. The host must be able to run the code.

    Raises:
        OptcError: no C compiler is there, or linking fails.
    """
    compiler = find_compiler()
    with tempfile.TemporaryDirectory(prefix="optc-kernels-") as temporary:
        folder = Path(temporary)
        (folder / "kernels.o").write_bytes(object_code)
        (folder / "harness.o").write_bytes(_harness())
        libraries = ["-lm", "-lpthread"]
        compiler.run(["-shared", "-o", "kernels.so", "kernels.o", "harness.o", *libraries], folder)
        return LoadedKernels(ctypes.CDLL(str(folder / "kernels.so")))


@lru_cache(maxsize=1)
def _harness() -> bytes:
    compiler = find_compiler()
    with tempfile.TemporaryDirectory(prefix="optc-harness-") as temporary:
        folder = Path(temporary)
        (folder / "harness.c").write_text(_HARNESS)
        for name, text in runtime_sources().items():
            (folder / name).write_text(text)
        units = ["harness.c", "pool.c", "scratch.c"]
        for unit in units:
            compiler.run(["-std=gnu11", "-O2", "-fPIC", "-c", unit, "-o", f"{unit}.o"], folder)
        compiler.run(["-r", "-nostdlib", *(f"{unit}.o" for unit in units), "-o", "all.o"], folder)
        return (folder / "all.o").read_bytes()
