"""Hand-made programs and artifacts for the tests of the native library: kernels in plain C, no compiler passes."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from optc import artifact
from optc.artifact.host import HostRequirements
from optc.backends.host.entry import emit_entry
from optc.backends.host.link import HEADER, link, runtime_sources
from optc.program import CopyStep, KernelCall, Location, Program, Step, TensorInfo
from optc.targets.host import detect

SIZE = 1000
BYTES = SIZE * 4
SLOT = 4032  # BYTES, rounded up to 64

# What TVM's code generator emits, as far as the runtime sees it: three weak pointers and calls through them.
KERNELS = r"""
#include <stdint.h>
#include <stddef.h>
typedef int (*body)(int, void*, void*);
typedef struct { void* sync; int32_t tasks; } environment;
__attribute__((weak)) int (*__TVMBackendParallelLaunch)(body, void*, int);
__attribute__((weak)) void* (*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
__attribute__((weak)) int (*__TVMBackendFreeWorkspace)(int, int, void*);
void TVMFFIErrorSetRaisedFromCStrParts(const char*, const char**, int32_t);

int32_t add(const float* a, const float* b, float* c) {
  for (int i = 0; i < 1000; ++i) c[i] = a[i] + b[i];
  return 0;
}
int32_t twice(const float* a, float* b) {
  for (int i = 0; i < 1000; ++i) b[i] = 2 * a[i];
  return 0;
}
int32_t negate(const float* a, float* b) {
  for (int i = 0; i < 1000; ++i) b[i] = -a[i];
  return 0;
}
int32_t is_positive(const float* a, uint8_t* b) { *b = a[0] > 0; return 0; }

/* Fails where a buffer is not 64-byte aligned. */
int32_t aligned_copy(const float* a, float* b) {
  if (((uintptr_t)a | (uintptr_t)b) % 64) return -7;
  for (int i = 0; i < 1000; ++i) b[i] = a[i];
  return 0;
}

struct square { const float* a; float* b; };
static int square_share(int task, void* env, void* data) {
  const int tasks = ((environment*)env)->tasks;
  struct square* s = data;
  /* A temporary of each task, checked for overlap with the others' by value. */
  float* t = __TVMBackendAllocWorkspace(1, 0, 4 * 1000, 2, 32);
  float* u = __TVMBackendAllocWorkspace(1, 0, 4 << 20, 2, 32);
  if (!t || !u || (uintptr_t)t % 64 || (uintptr_t)u % 64) return -1;
  for (int i = task; i < 1000; i += tasks) { t[i] = s->a[i]; u[i * 1000] = s->a[i]; }
  for (int i = task; i < 1000; i += tasks) s->b[i] = t[i] * u[i * 1000];
  if (__TVMBackendFreeWorkspace(1, 0, u)) return -1;
  return __TVMBackendFreeWorkspace(1, 0, t);
}
int32_t square(const float* a, float* b) {
  struct square s = {a, b};
  return __TVMBackendParallelLaunch(square_share, &s, 0);
}

/* b[task] counts its executions, with a fixed number of tasks. */
static int count_task(int task, void* env, void* data) {
  if (((environment*)env)->tasks != 1000) return -1;
  ((float*)data)[task] += 1;
  return 0;
}
int32_t count(const float* a, float* b) {
  for (int i = 0; i < 1000; ++i) b[i] = a[i];
  for (int repeat = 0; repeat < 50; ++repeat)
    if (__TVMBackendParallelLaunch(count_task, b, 1000)) return -1;
  return 0;
}

static int nested_inner(int task, void* env, void* data) {
  const int tasks = ((environment*)env)->tasks;
  struct square* s = data;
  for (int i = task; i < 1000; i += tasks) s->b[i] = s->a[i] + 1;
  return 0;
}
static int nested_outer(int task, void* env, void* data) {
  (void)env;
  return task == 0 ? __TVMBackendParallelLaunch(nested_inner, data, 0) : 0;
}
int32_t nested(const float* a, float* b) {
  struct square s = {a, b};
  return __TVMBackendParallelLaunch(nested_outer, &s, 0);
}

static int fail_in_last(int task, void* env, void* data) {
  (void)data;
  const char* parts[] = {"task ", "broke"};
  if (task != ((environment*)env)->tasks - 1) return 0;
  TVMFFIErrorSetRaisedFromCStrParts("ValueError", parts, 2);
  return -3;
}
int32_t broken(const float* a, float* b) {
  (void)a, (void)b;
  return __TVMBackendParallelLaunch(fail_in_last, NULL, 0);
}
"""


def compile_c(source: str) -> bytes:
    """An object file of C functions."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.c")
        path.write_text(source)
        subprocess.run(["cc", "-O1", "-fPIC", "-c", path.name, "-o", "kernels.o"], cwd=folder, check=True)
        return Path(folder, "kernels.o").read_bytes()


@functools.cache
def linked(program: Program, kernels: bytes, threads: int) -> bytes:
    """The native library of a program."""
    return link(emit_entry(program, "test", threads), [kernels])


def tensor(name: str) -> TensorInfo:
    """A float32 vector of SIZE elements."""
    return TensorInfo(name, "float32", (SIZE,))


def input_at(index: int) -> Location:
    return Location("input", 0, BYTES, index)


def output_at(index: int) -> Location:
    return Location("output", 0, BYTES, index)


def slot(index: int) -> Location:
    """The `index`-th vector of the arena."""
    return Location("arena", index * SLOT, BYTES)


def chain(*symbols: str) -> Program:
    """y = the kernels, each of one input and one output, applied to x in order."""
    places = [input_at(0), *(slot(index) for index in range(len(symbols) - 1)), output_at(0)]
    steps = tuple(
        KernelCall(symbol, (places[index], places[index + 1]), f"{symbol}/{index}")
        for index, symbol in enumerate(symbols)
    )
    return Program((tensor("x"),), (tensor("y"),), max(len(symbols) - 1, 0) * SLOT, 0, steps)


def weighted_sum() -> tuple[Program, bytes]:
    """y = 2 * (x + w), z = w, with w from the weights file."""
    weights = np.arange(SIZE, dtype=np.float32)
    place = Location("weights", 0, BYTES)
    steps: tuple[Step, ...] = (
        KernelCall("add", (input_at(0), place, slot(0)), "plus"),
        KernelCall("twice", (slot(0), output_at(0)), "times"),
        CopyStep(place, output_at(1)),
    )
    program = Program((tensor("x"),), (tensor("y"), tensor("z")), SLOT, SLOT, steps)
    return program, weights.tobytes() + bytes(SLOT - BYTES)


def contents(
    program: Program,
    kernels: bytes,
    weights: bytes = b"",
    fallbacks: Mapping[str, bytes] | None = None,
    threads: int = 1,
) -> artifact.Contents:
    """An artifact for this machine."""
    return artifact.Contents(
        program=program,
        target="cpu",
        host=HostRequirements("linux", detect().architecture),
        library=linked(program, kernels, threads),
        header=runtime_sources()[HEADER].encode(),
        weights=[weights],
        module="module {}\n",
        decisions={"chosen": []},
        fallbacks=fallbacks or {},
        command="optc compile test.onnx",
    )
