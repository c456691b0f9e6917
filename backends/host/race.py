"""Time sequences of kernels that compute the same against each other, on the threads of the C runtime."""

from __future__ import annotations

import ctypes
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optc.backends.host.link import link

ROUNDS = 15
MOST_EVICTED = 1 << 26  # bytes
ALIGNMENT = 64

_SOURCE = r"""
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include "entry.h"
#include "pool.h"
#define EXPORTED __attribute__((visibility("default")))
%(declarations)s
static int run(int contestant, void** buffers) {
  switch (contestant) {
%(cases)s
  }
  return -1;
}
const optc_program optc_entry = {0};
static optc_pool* pool;
EXPORTED int optc_model_race_start(int threads) {
  pool = optc_pool_create(threads, 0, -1);
  return pool != NULL;
}
EXPORTED double optc_model_race(int contestant, void** buffers) {
  struct timespec start, end;
  optc_worker* previous;
  if (!optc_pool_enter(pool, &previous)) return -1.0;
  clock_gettime(CLOCK_MONOTONIC, &start);
  const int status = run(contestant, buffers);
  clock_gettime(CLOCK_MONOTONIC, &end);
  optc_pool_leave(pool, previous);
  return status ? -1.0 : (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}
"""


@dataclass(frozen=True)
class Call:
    """One kernel call.

    Attributes:
        symbol: of the kernel.
        object_code: that defines it.
        arguments: numbers of buffers, in the kernel's order.
    """

    symbol: str
    object_code: bytes
    arguments: tuple[int, ...]


def race(
    contestants: Sequence[Sequence[Call]],
    buffers: Sequence[np.ndarray],
    data: Sequence[int],
    threads: int,
    last_cache_bytes: int,
) -> list[float]:
    """Seconds of each contestant: the least of several runs taken in turn.

    Before each run the caches are as in a network: other layers' weights have passed through them, while the data were
    just written.

    Args:
        contestants: calls made one after the other.
        buffers: what they read and write, aligned to 64 bytes.
        data: the buffers that hold no constants.
        threads: of the runtime's pool.
        last_cache_bytes: capacity of the largest cache.

    Raises:
        OptcError: they cannot be linked.
        RuntimeError: a kernel fails.
    """
    with tempfile.TemporaryDirectory(prefix="optc-race-") as folder:
        path = Path(folder) / "race.so"
        objects = {call.symbol: call.object_code for calls in contestants for call in calls}
        path.write_bytes(link(_source(contestants), list(objects.values())))
        library = ctypes.CDLL(str(path))
        library.optc_model_race.restype = ctypes.c_double
        if not library.optc_model_race_start(threads):
            raise RuntimeError("the threads cannot be started")
        pointers = (ctypes.c_void_p * len(buffers))(*(buffer.ctypes.data for buffer in buffers))
        others = np.ones(min(MOST_EVICTED, last_cache_bytes) // 4, np.float32)
        least = [math.inf] * len(contestants)
        for turn in range(ROUNDS + 1):
            for number in range(len(contestants)):
                others.sum()
                for each in data:
                    buffers[each].view(np.uint8)[::ALIGNMENT].sum()
                seconds = library.optc_model_race(number, pointers)
                if seconds < 0:
                    raise RuntimeError("a kernel failed")
                if turn > 0:
                    least[number] = min(least[number], seconds)
    return least


def _source(contestants: Sequence[Sequence[Call]]) -> str:
    arity = {call.symbol: len(call.arguments) for calls in contestants for call in calls}
    declarations = "\n".join(f"int32_t {name}({', '.join(['void*'] * count)});" for name, count in arity.items())
    cases = []
    for number, calls in enumerate(contestants):
        made = [f"{call.symbol}({', '.join(f'buffers[{each}]' for each in call.arguments)})" for call in calls]
        cases.append(f"    case {number}: return {' || '.join(made)};")
    return _SOURCE % {"declarations": declarations, "cases": "\n".join(cases)}
