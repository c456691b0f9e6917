"""How fast the runtime decodes packed weights: those of the zoo, as float32, bfloat16 and int8.

    python benchmarks/weight_loading.py pack ZOO_FOLDER WORK_FOLDER --models resnet18 minilm_l6
    python benchmarks/weight_loading.py measure WORK_FOLDER

`pack` writes the weights of each model as an artifact with `--compress-weights` would hold them. `measure` has the
runtime's own loader open each (`optc_unpack_weights`: the file mapped and in the page cache, fresh memory for the
weights), compares every byte with what was packed, and writes WEIGHT_LOADING.md with the fastest of five for one and
for two threads, and the least processor time of the first, which other work on the machine disturbs less. Weights in
int8 are those of the float32 ones rounded with a scale for each output channel.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.model_size import all_tensors
from optc.backends.host.link import runtime_sources
from optc.passes.compression.stored_weights import pack_weights

RUNS = 5
THREADS = (1, 2)
SMALLEST = 1024
HERE = Path(__file__).resolve().parent
UNITS = ("unpack.c", "unpack_weights.c", "memory.c")


def kinds_of(path: Path) -> dict[str, bytes]:
    """The weights of a model in three element types, one tensor behind the other."""
    import ml_dtypes

    arrays = [
        numpy_helper.to_array(tensor)
        for tensor in all_tensors(onnx.load(path).graph)
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= SMALLEST
    ]
    codes = []
    for array in arrays:
        rows = array.reshape(len(array), -1)
        scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / 127, 1e-30)
        codes.append(np.rint(rows / scale).astype(np.int8).tobytes())
    return {
        "float32": b"".join(array.tobytes() for array in arrays),
        "bfloat16": b"".join(array.astype(ml_dtypes.bfloat16).tobytes() for array in arrays),
        "int8": b"".join(codes),
    }


def pack(zoo: Path, work: Path, names: list[str]) -> None:
    """Write the weights as they are and packed, each in a folder of its own."""
    for name in names:
        for kind, content in kinds_of(zoo / f"{name}.onnx").items():
            folder = work / name / kind
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "plain").write_bytes(content)
            (folder / "weights.bin").write_bytes(b"".join(pack_weights([content])))
            print(name, kind, flush=True)


def loader(folder: Path) -> ctypes.CDLL:
    """The runtime's loader as a library."""
    for name, text in runtime_sources().items():
        (folder / name).write_text(text)
    # The options that artifacts are compiled with, but for the visibility of functions.
    command = ["cc", "-std=c11", "-O2", "-fPIC", "-shared", *UNITS, "-o", "loader.so", "-lpthread"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "loader.so"))


def seconds(library: ctypes.CDLL, folder: Path, threads: int) -> tuple[float, float]:
    """Of the fastest load, and the least processor time of one."""
    plain, stored = (folder / "plain").read_bytes(), (folder / "weights.bin").stat().st_size
    error, weights = ctypes.create_string_buffer(512), ctypes.c_void_p()
    times, used = [], []
    for _ in range(RUNS):
        start, before = time.perf_counter(), time.process_time()
        code = library.optc_unpack_weights(
            os.fsencode(folder),
            ctypes.c_size_t(stored),
            ctypes.c_size_t(len(plain)),
            threads,
            ctypes.byref(weights),
            error,
        )
        times.append(time.perf_counter() - start)
        used.append(time.process_time() - before)
        assert code == 0, error.value
        assert ctypes.string_at(weights.value or 0, len(plain)) == plain
        library.optc_unmap_weights(weights, ctypes.c_size_t(len(plain)))
    return min(times), min(used)


def measure(work: Path, out: Path) -> None:
    """Write the page."""
    lines = [
        "# Loading packed weights",
        "",
        "Written by `benchmarks/weight_loading.py`: weights as `optc compile --compress-weights` stores them, decoded "
        f"by the runtime's loader; GB/s of what comes out, the fastest of {RUNS}; every byte compared.",
        "",
        "| model | type | bytes | off | GB/s, 1 thread | GB/s, 2 threads | GB a second of processor time |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    totals: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as scratch:
        library = loader(Path(scratch))
        for folder in sorted(work.glob("*/*/")):
            raw, stored = (folder / "plain").stat().st_size, (folder / "weights.bin").stat().st_size
            pairs = [seconds(library, folder, threads) for threads in THREADS]
            found = [*(elapsed for elapsed, _ in pairs), pairs[0][1]]
            totals[folder.name] = totals.get(folder.name, np.zeros(5)) + np.array([raw, stored, *found])
            speeds = " | ".join(f"{raw / each / 1e9:.2f}" for each in found)
            lines.append(f"| {folder.parent.name} | {folder.name} | {raw:,} | {1 - stored / raw:.1%} | {speeds} |")
    for kind, (raw, stored, *found) in totals.items():
        speeds = " | ".join(f"**{raw / each / 1e9:.2f}**" for each in found)
        lines.append(f"| all | {kind} | {raw:,.0f} | **{1 - stored / raw:.1%}** | {speeds} |")
    out.write_text("\n".join(lines) + "\n")
    print(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("zoo", type=Path)
    packing.add_argument("work", type=Path)
    packing.add_argument("--models", nargs="+", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("work", type=Path)
    measuring.add_argument("--out", type=Path, default=HERE / "WEIGHT_LOADING.md")
    options = parser.parse_args()
    if options.what == "pack":
        pack(options.zoo, options.work, options.models)
    else:
        measure(options.work, options.out)


if __name__ == "__main__":
    main()
