"""Measure several kernels of one group on this host, in the process that calls."""

from __future__ import annotations

import ctypes
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optc.backends.tvm.codegen import compile_kernels
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Choice, KernelDefinition
from optc.costmodel.skipping import skips
from optc.targets.target import Target
from optc.toolchain import find_compiler

ALIGNMENT = 64
ROUNDS = 9
MOST_EVICTED = 1 << 26  # bytes: of larger caches one model on one core hardly has more for itself

LAUNCH = r"""
#include <stdint.h>
struct environment { void* sync; int32_t tasks; };
typedef int (*task_function)(int, struct environment*, void*);
static int launch(task_function task, void* data, int wanted) {
  (void)wanted;
  struct environment alone = {0, 1};
  return task(0, &alone, data);
}
int (*__TVMBackendParallelLaunch)(task_function, void*, int) = launch;
"""
"""C that a library of kernels is linked with where nothing else runs: parallel loops are one task."""


def measure(group: Group, choices: Sequence[Choice], target: Target) -> list[float]:
    """Seconds of one call on one thread for each choice, the least of several calls taken in turn.

    Before each call the caches are as in a network: other layers' weights have passed through them, while the data were
    just written.
    """
    definitions = [choice.template.build(group, choice.schedule, target) for choice in choices]
    with tempfile.TemporaryDirectory(prefix="optc-tune-") as folder:
        library = _link(definitions, target, Path(folder))
        calls = [_Call(library, number, definition, group) for number, definition in enumerate(definitions)]
        others = np.ones(min(MOST_EVICTED, target.caches[-1].bytes if target.caches else 0) // 4, np.float32)
        least = [math.inf] * len(calls)
        for _ in range(ROUNDS):
            for number, call in enumerate(calls):
                others.sum()
                call.touch_data()
                start = time.perf_counter()
                call.run()
                least[number] = min(least[number], time.perf_counter() - start)
    return least


def _link(definitions: Sequence[KernelDefinition], target: Target, folder: Path) -> ctypes.CDLL:
    kernels = {f"candidate{number}": definition.function for number, definition in enumerate(definitions)}
    (folder / "kernels.o").write_bytes(compile_kernels(kernels, target))
    (folder / "launch.c").write_text(LAUNCH)
    find_compiler().run(["-O1", "-shared", "-fPIC", "-o", "kernels.so", "kernels.o", "launch.c", "-lm"], folder)
    return ctypes.CDLL(str(folder / "kernels.so"))


class _Call:
    """A call of one candidate on buffers of its own."""

    def __init__(self, library: ctypes.CDLL, number: int, definition: KernelDefinition, group: Group) -> None:
        self._function: Any = getattr(library, f"candidate{number}")
        shapes = [([int(extent) for extent in each.shape], str(each.dtype)) for each in definition.function.params]
        buffers = [aligned_buffer(*each) for each in shapes]
        self._data = [buffer for position, buffer in enumerate(buffers) if position not in group.constants]
        make_sparse(group, buffers)
        self._pointers = [ctypes.c_void_p(buffer.ctypes.data) for buffer in buffers]
        self._buffers = buffers  # keeps them alive
        self.run()

    def run(self) -> None:
        """Call the kernel."""
        self._function(*self._pointers)

    def touch_data(self) -> None:
        """Read what is no constant, which brings it into the caches."""
        for buffer in self._data:
            buffer.view(np.uint8)[::ALIGNMENT].sum()


def make_sparse(group: Group, buffers: Sequence[np.ndarray]) -> None:
    """As many zeros in the row that a product reads as it is said to have."""
    density = None if group.anchor is None else skips(group.anchor)
    row = None if group.anchor is None else group.anchor.operands[0]
    if density is not None and row is not None and row.owner is group.body:
        buffer = buffers[row.index]
        buffer *= np.random.default_rng(1).random(buffer.shape) < density


def aligned_buffer(shape: Sequence[int], dtype: str) -> np.ndarray:
    """An aligned array: small numbers for floats, zeros (valid as indices) for the rest."""
    size = math.prod(shape)
    raw = np.zeros(size * element_bytes(dtype) + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    buffer = raw[start : start + size * element_bytes(dtype)]
    if dtype in ("float32", "float64"):
        random = np.random.default_rng(0)
        buffer = buffer.view(dtype)
        buffer[:] = random.uniform(-1.0, 1.0, size)
    return buffer


def element_bytes(dtype: str) -> int:
    """Of an element of a buffer."""
    return {"bool": 1, "bfloat16": 2}.get(dtype) or np.dtype(dtype).itemsize
