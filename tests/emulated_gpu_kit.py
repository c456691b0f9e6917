"""Programs of hand-written CUDA kernels in an emulation of a GPU: no CUDA compiler is needed."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optc.backends.cuda.emulator.build import FLAGS, emulated_library, emulated_source, emulator_sources
from optc.backends.cuda.emulator.driver import NAME, driver_library
from optc.backends.cuda.kernel import Argument, CudaKernel, Launch
from optc.backends.host.entry import emit_entry
from optc.backends.host.launches import Image, Launched, launch_object
from optc.backends.host.link import link, link_runner
from optc.backends.host.platform import CUDA
from optc.backends.interface import Option, Selection
from optc.program import KernelCall, Program, walk
from optc.toolchain import Compiler, find_compiler, find_cross_compiler

SIZE = 1000
_DRIVE = """
import ctypes, json, sys
import numpy as np
from optc.errors import OptcError
from optc.runtime.arrays import aligned_empty
from optc.runtime.library import NativeModel
from pathlib import Path

folder = Path({folder!r})
def start(inputs=1, outputs=1):
    return NativeModel(folder, "libmodel.so", inputs, outputs)
def vector(seed=0, offset=0):
    x = aligned_empty((1100,), np.dtype(np.float32))[offset:offset + 1000]
    x[:] = np.random.default_rng(seed).standard_normal(1000).astype(np.float32)
    return x
def address(x):
    return x.ctypes.data
said = {{}}
"""


@dataclass(frozen=True)
class Outcome:
    """What a process did: what it put into `said`, the driver's counts, its exit status, what it wrote as errors."""

    said: dict[str, object]
    report: dict[str, int]
    status: int
    errors: str


def kernel(
    name: str, body: str, inputs: int = 1, *, shared: int = 0, block: int = 128, output: str = "float"
) -> Launched:
    """A kernel on vectors of SIZE floats, with the head of its PTX alone as its image."""
    names = [*(f"const float* input_{i}" for i in range(inputs)), f"{output}* output_0"]
    dynamic = "  OPTC_DYNAMIC_SHARED(area);\n  if (area == nullptr) return;\n" if shared else ""
    source = (
        f"OPTC_GLOBAL void __launch_bounds__({block}) {name}_f({', '.join(names)}) {{\n{dynamic}"
        f"  const int i = blockIdx.x * {block} + threadIdx.x;\n  if (i < {SIZE}) output_0[i] = {body};\n}}\n"
    )
    parameters = ",\n".join(f"  .param .u64 {name}_f_param_{i}" for i in range(inputs + 1))
    ptx = f".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry {name}_f(\n{parameters}\n)\n{{\n}}\n"
    arguments: tuple[Argument, ...] = (*(("input", i) for i in range(inputs)), ("output", 0))
    launch = Launch(f"{name}_f", (-(-SIZE // block), 1, 1), (block, 1, 1), shared, arguments)
    option = Option("by hand", (), 0.0)
    selection = Selection(option, None, option, 1, 0, "")
    made = CudaKernel(name, b"", selection, source=source, ptx=ptx, launches=(launch,))
    return Launched(made, inputs, 1, [Image(80, True, ptx.encode())])


KERNELS = {
    each.kernel.symbol: each
    for each in (
        kernel("add", "input_0[i] + input_1[i]", 2),
        kernel("twice", "2 * input_0[i]", shared=60_000),
        kernel("negate", "-input_0[i]"),
        kernel("is_positive", "input_0[0] > 0 ? 1 : 0", output="unsigned char"),
        kernel("roomy", "2 * input_0[i]", shared=120_000),
        kernel("crowded", "2 * input_0[i]", block=2048),
        kernel("broken", "input_0[i + (1 << 24)]"),
    )
}


@functools.cache
def emulated_kernels() -> bytes:
    """The library of all KERNELS."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.so")
        launches = [launch for each in KERNELS.values() for launch in each.kernel.launches]
        emulated_library([each.kernel.source for each in KERNELS.values()], launches, path, options=("-O0",))
        return path.read_bytes()


def build(folder: Path, program: Program, weights: bytes = b"") -> Path:
    """Put the library of a program of KERNELS, its weights, its emulated kernels and the driver into `folder`."""
    compiler = find_compiler()
    used = dict.fromkeys(step.symbol for step in walk(program.steps) if isinstance(step, KernelCall))
    objects = [launch_object([KERNELS[symbol] for symbol in used], compiler, "13.0")]
    (folder / "libmodel.so").write_bytes(link(emit_entry(program, "test", 1), objects, compiler, CUDA))
    (folder / "weights.bin").write_bytes(weights)
    (folder / NAME).write_bytes(driver_library(compiler))
    (folder / "kernels.so").write_bytes(emulated_kernels())
    return folder


def drive(folder: Path, text: str, *, sm: int = 80, driver: Path | None = None, cuda: int = 13000) -> Outcome:
    """Run Python `text` (see _DRIVE for what it may use) in a process whose CUDA driver is the emulated one."""
    report = folder / "report.json"
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(driver or folder),
        "OPTC_EMULATED_SM": str(sm),
        "OPTC_EMULATED_CUDA": str(cuda),
        "OPTC_EMULATED_KERNELS": str(folder / "kernels.so"),
        "OPTC_EMULATED_REPORT": str(report),
    }
    script = _DRIVE.format(folder=str(folder)) + text + "\nprint(json.dumps(said))\n"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    said = json.loads(done.stdout) if done.stdout else {}
    counts = json.loads(report.read_text()) if report.exists() else {}
    report.unlink(missing_ok=True)
    return Outcome(said, counts, done.returncode, done.stderr)


def run_on_aarch64(folder: Path, sysroot: Path, place: Path, x: np.ndarray, outputs: int) -> np.ndarray:
    """The first outputs of the aarch64 library in `folder`, in QEMU, with driver and kernels compiled for aarch64."""
    zig = [sys.executable, "-m", "ziglang"]
    triple = ["-target", "aarch64-linux-gnu.2.31"]
    (place / NAME).write_bytes(driver_library(Compiler((*zig, "cc", *triple), "")))
    for name, text in emulator_sources().items():
        (place / name).write_text(text)
    for source in (folder / "kernels").iterdir():
        shutil.copy(source, place)
    launches = json.loads((folder / "plan.json").read_text())["decisions"]["launches"]
    names = list(dict.fromkeys(each["function"] for kernel in launches.values() for each in kernel))
    (place / "kernels.cpp").write_text(emulated_source([(place / "kernels.cu").read_text()], names))
    command = [*zig, "c++", *triple, *FLAGS, "-O1", "-DOPTC_EMULATION", "-I.", "kernels.cpp", "scheduler.cpp"]
    subprocess.run([*command, "-o", "kernels.so"], cwd=place, check=True)
    program = place / "run_once"
    program.write_bytes(link_runner(folder / "libmodel.so", find_cross_compiler({"prefix": "aarch64-linux-gnu"})))
    program.chmod(0o755)
    (place / "x").write_bytes(x.tobytes())
    names = ["LD_LIBRARY_PATH", "OPTC_EMULATED_SM", "OPTC_EMULATED_KERNELS"]
    values = [str(place), "87", str(place / "kernels.so")]
    words = [word for name, value in zip(names, values, strict=True) for word in ("-E", f"{name}={value}")]
    files = [str(folder), str(place / "x"), str(place / "y"), "1"]
    subprocess.run(["qemu-aarch64-static", "-L", str(sysroot), *words, str(program), *files], check=True)
    return np.frombuffer((place / "y").read_bytes(), np.float32, outputs)
