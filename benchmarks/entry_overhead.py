"""What a call of the C entry point costs beside its kernels, and whether it allocates or locks.

    python benchmarks/entry_overhead.py --out build/entry_overhead

Two models of trivially small kernels (a product of a row of 8 numbers and an 8 x 8 matrix) are compiled for one thread,
one with a single kernel and one with 100. A C program without Python times whole calls, kernels included, so that the
overhead is less than what it prints. Then it runs each model 1000 times under a library that counts calls of the
allocator, of mutexes and conditions, and those that map memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.runtimes.compiled import Optc  # noqa: E402
from benchmarks.tables import table  # noqa: E402

WIDTH = 8
LENGTHS = (1, 100)
MOST_SECONDS = 2e-6

PROGRAM = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "optc_model.h"

void count_start(void) __attribute__((weak));
long count_stop(int which) __attribute__((weak));

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int by_value(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  enum { BATCHES = 201, CALLS = 2000, COUNTED = 1000 };
  static double seconds[BATCHES];
  static _Alignas(64) float in[WIDTH], out[WIDTH];
  const void* inputs[] = {in};
  void* outputs[] = {out};
  const optc_options options = {sizeof(optc_options), 1, 0, -1};
  optc_model* model;
  if (argc < 2) return 2;
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  if (count_start) count_start();
  pthread_mutex_lock(&mutex);
  if (optc_model_init(&model, argv[1], &options) != OPTC_OK) return puts(optc_model_error(NULL)), 1;
  if (count_stop) {
    const long prepared = count_stop(0), locked = count_stop(1), mapped = count_stop(2);
    optc_model_run(model, inputs, outputs);
    count_start();
    for (int i = 0; i < COUNTED; ++i) optc_model_run(model, inputs, outputs);
    const long allocations = count_stop(0), locks = count_stop(1), calls = count_stop(2);
    printf("{\"before\": [%ld, %ld, %ld], \"allocations\": %ld, \"locks\": %ld, \"mappings\": %ld}\n", prepared,
           locked, mapped, allocations, locks, calls);
    return 0;
  }
  for (int i = 0; i < CALLS; ++i)
    if (optc_model_run(model, inputs, outputs) != OPTC_OK) return puts(optc_model_error(model)), 1;
  for (int batch = 0; batch < BATCHES; ++batch) {
    const double start = now();
    for (int i = 0; i < CALLS; ++i) optc_model_run(model, inputs, outputs);
    seconds[batch] = (now() - start) / CALLS;
  }
  qsort(seconds, BATCHES, sizeof *seconds, by_value);
  printf("{\"steps\": %d, \"seconds\": %.4e, \"least\": %.4e}\n", optc_model_step_count(model), seconds[BATCHES / 2],
         seconds[0]);
  optc_model_free(model);
  return 0;
}
"""

COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

static long counts[3];
static volatile int counting;
void count_start(void) { counts[0] = counts[1] = counts[2] = 0; counting = 1; }
long count_stop(int which) { counting = 0; return counts[which]; }

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
extern void __libc_free(void*);
#define COUNT(kind) (counts[kind] += counting)
void* malloc(size_t n) { COUNT(0); return __libc_malloc(n); }
void* calloc(size_t n, size_t m) { COUNT(0); return __libc_calloc(n, m); }
void* realloc(void* p, size_t n) { COUNT(0); return __libc_realloc(p, n); }
void* aligned_alloc(size_t a, size_t n) { COUNT(0); return __libc_memalign(a, n); }
void* memalign(size_t a, size_t n) { COUNT(0); return __libc_memalign(a, n); }
int posix_memalign(void** p, size_t a, size_t n) { COUNT(0); return (*p = __libc_memalign(a, n)) ? 0 : 12; }
void free(void* p) { COUNT(0); __libc_free(p); }

#define FORWARD(kind, name, parameters, arguments)                     \
  int name parameters {                                                \
    static int(*next) parameters;                                      \
    if (!next) *(void**)&next = dlsym(RTLD_NEXT, #name);               \
    COUNT(kind);                                                       \
    return next arguments;                                             \
  }
FORWARD(1, pthread_mutex_lock, (pthread_mutex_t* m), (m))
FORWARD(1, pthread_mutex_trylock, (pthread_mutex_t* m), (m))
FORWARD(1, pthread_mutex_unlock, (pthread_mutex_t* m), (m))
FORWARD(1, pthread_cond_wait, (pthread_cond_t* c, pthread_mutex_t* m), (c, m))
FORWARD(1, pthread_cond_signal, (pthread_cond_t* c), (c))
FORWARD(1, pthread_cond_broadcast, (pthread_cond_t* c), (c))
FORWARD(2, munmap, (void* p, size_t n), (p, n))
FORWARD(2, madvise, (void* p, size_t n, int a), (p, n, a))
void* mmap(void* p, size_t n, int protection, int flags, int file, off_t offset) {
  static void* (*next)(void*, size_t, int, int, int, off_t);
  if (!next) *(void**)&next = dlsym(RTLD_NEXT, "mmap");
  COUNT(2);
  return next(p, n, protection, flags, file, offset);
}
"""


def chain(length: int) -> onnx.ModelProto:
    """`length` products with a matrix, one after the other."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array((random.standard_normal((WIDTH, WIDTH)) / WIDTH).astype(np.float32), f"w{i}")
        for i in range(length)
    ]
    names = ["x", *(f"v{i}" for i in range(1, length)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(length)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def measure(length: int, folder: Path) -> dict:
    """Seconds of a call, and the counted calls of 1000 runs, of a model with `length` kernels.

    Raises:
        RuntimeError: the compiler made another number of kernels, or the counters see nothing.
    """
    import optc
    from optc.toolchain import find_compiler

    artifact = folder / f"chain{length}"
    with optc.compile(chain(length), output=str(artifact), threads=1, verify=False):
        pass
    (folder / "call.c").write_text(PROGRAM)
    (folder / "count.c").write_text(COUNTER)
    find_compiler().run(["-O2", "-shared", "-fPIC", "count.c", "-o", "libcount.so", "-ldl"], folder)
    flags = ["-O2", f"-DWIDTH={WIDTH}", f"-I{artifact}", "call.c", str(artifact / "libmodel.so"), "-o", "call"]
    find_compiler().run([*flags, f"-Wl,-rpath,{artifact}"], folder)
    pin = {0} if hasattr(os, "sched_setaffinity") else None

    def run(**environment: str) -> dict:
        done = subprocess.run(
            [str(folder / "call"), str(artifact)],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            preexec_fn=(lambda: os.sched_setaffinity(0, pin)) if pin else None,
        )
        if done.returncode:
            raise RuntimeError(f"the program failed: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    row = {**run(), **run(LD_PRELOAD=str(folder / "libcount.so"))}
    if row["steps"] != length:
        raise RuntimeError(f"the chain of {length} became {row['steps']} kernels")
    if not all(row["before"]):  # the program allocates, locks and maps while it prepares
        raise RuntimeError("the counters see nothing")
    return row


def markdown(report: dict) -> str:
    """The figures as a table."""
    rows = [
        [
            str(row["steps"]),
            f"{row['seconds'] * 1e9:.0f}",
            f"{row['seconds'] * 1e9 / row['steps']:.1f}",
            *(str(row[kind]) for kind in ("allocations", "locks", "mappings")),
        ]
        for row in report["rows"]
    ]
    counted = "in 1000 runs"
    header = [
        "kernels",
        "ns a call",
        "ns a kernel",
        f"allocations {counted}",
        f"locks {counted}",
        f"mappings {counted}",
    ]
    return (
        f"One thread, commit {report['commit']}; the time of the kernels, of 64 multiply-adds each, included.\n\n"
        + table(header, rows)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="optc-overhead-") as folder:
        report = {"commit": Optc().version(), "rows": [measure(length, Path(folder)) for length in LENGTHS]}
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.with_suffix(".json").write_text(json.dumps(report, indent=1))
        options.out.with_suffix(".md").write_text(markdown(report))
    print(markdown(report))
    held = all(not row[kind] for row in report["rows"] for kind in ("allocations", "locks", "mappings"))
    return 0 if held and report["rows"][0]["seconds"] <= MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
