"""The memory planner beside others: allocation instances, and the zoo's activations beside onnxruntime's and TVM's.

    python benchmarks/memory.py --zoo build/zoo --instances minimalloc/benchmarks --out build/bench/memory

Instances: MiniMalloc's CSV files, whose names hold the capacity (`challenging_A.1048576.csv`, from
github.com/google/minimalloc); each is solved by `optc memory plan` and checked by `optc memory check`, in a process of
its own. Zoo: bytes of activations and scratch in one run, without those of the model's inputs and outputs. optc's is
the arena of the artifact, compiled for one thread with predicted schedules. onnxruntime's is the peak of what a run
holds allocated, as its allocations show, with its memory pattern on and its arena off (the arena rounds up). TVM's is
the sum of the storages that its static planner makes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.peers import subject_of  # noqa: E402
from benchmarks.runtimes.peer import Subject, bound  # noqa: E402
from benchmarks.tables import ABSENT, geometric_mean, table  # noqa: E402
from benchmarks.zoo import ZOO  # noqa: E402

COUNTER = r"""
#include <malloc.h>
#include <stddef.h>
void* __libc_malloc(size_t); void* __libc_calloc(size_t, size_t); void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t); void __libc_free(void*);
static long live, peak;
static void* took(void* p) {
  if (p) {
    const long now = __atomic_add_fetch(&live, (long)malloc_usable_size(p), __ATOMIC_RELAXED);
    if (now > peak) peak = now;
  }
  return p;
}
static void gave(void* p) { if (p) __atomic_sub_fetch(&live, (long)malloc_usable_size(p), __ATOMIC_RELAXED); }
void* malloc(size_t n) { return took(__libc_malloc(n)); }
void* calloc(size_t n, size_t m) { return took(__libc_calloc(n, m)); }
void* realloc(void* p, size_t n) { gave(p); return took(__libc_realloc(p, n)); }
void* memalign(size_t a, size_t n) { return took(__libc_memalign(a, n)); }
void* aligned_alloc(size_t a, size_t n) { return took(__libc_memalign(a, n)); }
int posix_memalign(void** p, size_t a, size_t n) { return (*p = took(__libc_memalign(a, n))) ? 0 : 12; }
void free(void* p) { gave(p); __libc_free(p); }
long counter_start(void) { peak = live; return live; }
long counter_peak(void) { return peak; }
"""

TARGET = "x86-64-v3"

RUNS = 3
"""Of onnxruntime before the one that counts: the first ones record the memory pattern."""


def instances(folder: Path) -> dict[str, dict[str, Any]]:
    """Each instance: seconds to plan, whether the solution is right, buffers."""
    found = {}
    for path in sorted(folder.glob("*.*.csv")):
        capacity = path.name.split(".")[-2]
        with tempfile.TemporaryDirectory() as scratch:
            solution = Path(scratch) / "solution.csv"
            start = time.perf_counter()
            planned = _optc("memory", "plan", str(path), "--capacity", capacity, "-o", str(solution), "--json")
            seconds = time.perf_counter() - start
            checked = _optc("memory", "check", str(solution), "--capacity", capacity, "--json")
        found[path.name] = {
            "buffers": json.loads(planned.stdout).get("buffers"),
            "seconds": seconds,
            "solved": planned.returncode == 0 and checked.returncode == 0,
        }
    return found


def _optc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "optc", *arguments], capture_output=True, text=True, check=False)


def of_optc(subject: Subject, folder: Path) -> dict[str, int]:
    """Of an artifact: its arena, the least for its order of steps, and the live bytes before the order was changed."""
    shapes = [f"--shape={name}={','.join(map(str, array.shape))}" for name, array in subject.inputs.items()]
    options = ["--target", TARGET, "--threads", "1", "--tune", "0", "--no-verify", "-o", str(folder / "artifact")]
    done = _optc("compile", str(subject.model), *shapes, *options)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[0])
    from optc.artifact import read

    decisions = read(folder / "artifact", check_host=False).decisions
    memory = decisions["memory"]
    orders = [remark["predicted"] for remark in decisions["remarks"] if remark["pass"] == "order"]
    found = {"optc": int(memory["arena_bytes"]), "lower bound": int(memory["lower_bound"])}
    if orders:
        found |= {"order before": int(orders[0]["bytes_before"]), "order": int(orders[0]["bytes"])}
    return found


def of_onnxruntime(subject: Subject, folder: Path) -> int:
    """The peak of a run's allocations, without those of its outputs."""
    (folder / "counter.c").write_text(COUNTER)
    library = folder / "counter.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", str(folder / "counter.c"), "-o", str(library)], check=True)
    np.savez(folder / "inputs.npz", **subject.inputs)
    code = "from benchmarks.memory import count; count(*__import__('sys').argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(subject.model), str(folder / "inputs.npz"), str(library)],
        cwd=ROOT,
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return int(done.stdout)


def count(model: str, inputs: str, library: str) -> None:
    """Print what one run of onnxruntime needs; `library` counts the allocations of this process."""
    import ctypes

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    arrays = dict(np.load(inputs))
    for _ in range(RUNS):
        session.run(None, arrays)
    counter = ctypes.CDLL(library)
    counter.counter_start.restype = counter.counter_peak.restype = ctypes.c_long
    before = counter.counter_start()
    outputs = session.run(None, arrays)
    print(counter.counter_peak() - before - sum(each.nbytes for each in outputs))


def of_tvm(subject: Subject, folder: Path) -> int:
    """The storages of TVM's static memory planner."""
    import tvm
    from tvm.relax import transform
    from tvm.relax.frontend.onnx import from_onnx

    bound(subject, folder / "bound.onnx")
    module = from_onnx(onnx.load(str(folder / "bound.onnx")), keep_params_in_input=False)
    passes = [
        transform.DecomposeOpsForInference(),
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.RewriteDataflowReshape(),
        transform.ToNonDataflow(),
        transform.RemovePurityChecking(),
        transform.CallTIRRewrite(),
        transform.StaticPlanBlockMemory(),
    ]
    with tvm.target.Target("llvm"):
        module = tvm.transform.Sequential(passes)(module)
    text = module["main"].script()
    return sum(int(size) for size in re.findall(r"alloc_storage\(R\.shape\(\[(\d+)\]\)", text))


PLANNERS: dict[str, Callable[[Subject, Path], dict[str, int]]] = {
    "optc": of_optc,
    "onnxruntime": lambda subject, folder: {"onnxruntime": of_onnxruntime(subject, folder)},
    "tvm": lambda subject, folder: {"tvm": of_tvm(subject, folder)},
}


def zoo_rows(folder: Path, models: list[str] | None) -> dict[str, dict[str, Any]]:
    """Bytes by planner for each model; text where one failed."""
    rows: dict[str, dict[str, Any]] = {}
    for name in models or ZOO:
        subject = subject_of(name, folder, 1, folder)
        rows[name] = {}
        for planner, measure in PLANNERS.items():
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    rows[name] |= measure(subject, Path(scratch))
                except Exception as fault:  # a peer's failure is a figure of the table
                    rows[name][planner] = str(fault).strip().splitlines()[0][:120]
        print(name, rows[name], flush=True)
    return rows


def markdown(figures: Mapping[str, Any]) -> str:
    """Both tables."""
    parts = []
    if figures["instances"]:
        total = sum(row["seconds"] for row in figures["instances"].values())
        rows = [
            [name, str(row["buffers"]), "yes" if row["solved"] else "no", f"{row['seconds']:.2f}"]
            for name, row in figures["instances"].items()
        ]
        parts.append(table(["instance", "buffers", "solved", "seconds"], [*rows, ["all", "", "", f"{total:.1f}"]]))
    rows = []
    columns = ["optc", "lower bound", "onnxruntime", "tvm"]
    ratios: dict[str, list[float]] = {column: [] for column in columns}
    for name, row in figures["zoo"].items():
        cells = [name]
        for column in columns:
            size = row.get(column)
            cells.append(f"{size / 1e6:.3f}" if isinstance(size, int) else ABSENT)
            if isinstance(size, int) and isinstance(row["optc"], int):
                ratios[column].append(row["optc"] / size)
        orders = (row.get("order before"), row.get("order"))
        cells.append("the source's" if None in orders else f"{orders[0] / 1e6:.3f} → {orders[1] / 1e6:.3f}")
        rows.append(cells)
    means = [f"{geometric_mean(ratios[column]):.3f}" for column in columns]
    header = ["MB of activations", *columns, "live in the source's order → in optc's"]
    parts.append(table(header, [*rows, ["geometric mean of optc's over it", *means, ""]]))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--instances", type=Path, help="a folder of MiniMalloc's CSV files")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    options = parser.parse_args()
    figures = {
        "instances": instances(options.instances) if options.instances else {},
        "zoo": zoo_rows(options.zoo, options.models),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(markdown(figures))
    print(markdown(figures))


if __name__ == "__main__":
    main()
