"""Kernels as a shared library for the CPU, whose functions take what `cuLaunchKernel` takes.

For each launched function NAME the library has
`int optc_emulate_NAME(const unsigned grid[3], const unsigned block[3], size_t shared, void** parameters)`,
with `parameters` the addresses of the parameters' values, and 0 as the answer when all went well.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from optc.backends.cuda.kernel import CudaKernel, Launch
from optc.backends.cuda.runtime import runtime_headers
from optc.errors import OptcError

FLAGS = ("-std=c++17", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing", "-fvisibility=hidden", "-w")
"""Hidden, since the dynamic linker else gives libraries with kernels of one name one shared memory."""


@lru_cache(maxsize=1)
def find_cxx() -> tuple[str, ...]:
    """The command of a C++ compiler.

    Raises:
        OptcError: there is none.
    """
    for name in ("c++", "g++", "clang++"):
        if path := shutil.which(name):
            return (path,)
    if find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++")
    raise OptcError("no C++ compiler was found", hint="install g++ or clang, or run: pip install ziglang")


def emulated_library(
    sources: Sequence[str], launches: Sequence[Launch], path: Path, *, options: Sequence[str] = ("-O1",)
) -> None:
    """Write the library of some kernels' sources to `path`.

    Raises:
        OptcError: there is no C++ compiler, or it refuses the source.
    """
    with tempfile.TemporaryDirectory(prefix="optc-emulation-") as temporary:
        folder = Path(temporary)
        for name, text in {**runtime_headers(), **emulator_sources()}.items():
            (folder / name).write_text(text)
        names = list(dict.fromkeys(launch.function for launch in launches))
        (folder / "kernels.cpp").write_text(emulated_source(sources, names))
        units = ["kernels.cpp", "scheduler.cpp"]
        command = [*find_cxx(), *FLAGS, *options, "-DOPTC_EMULATION", "-I.", *units, "-o", str(path.absolute())]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OptcError("the emulated kernels do not compile", why="\n  ".join(done.stderr.splitlines()[:20]))


def emulated_source(sources: Sequence[str], functions: Sequence[str]) -> str:
    """The C++ of kernels behind functions that launch them."""
    parts = ['#include "optc_cuda.cuh"', *dict.fromkeys(sources)]
    parts += [
        f'OPTC_EMULATED int optc_emulate_{name}(const unsigned grid[3], const unsigned block[3], std::size_t shared, '
        f"void** parameters) {{ return optc_emulation::launch({name}, grid, block, shared, parameters); }}"
        for name in functions
    ]
    return "\n".join([*parts, ""])


def emulator_sources() -> dict[str, str]:
    """The emulator's own files, by name."""
    folder = resources.files("optc.backends.cuda.emulator")
    return {entry.name: entry.read_text() for entry in folder.iterdir() if entry.name.endswith((".h", ".cpp"))}


class Emulator:
    """Kernels that run on the CPU, on NumPy arrays in place of device memory."""

    def __init__(self, kernels: Sequence[CudaKernel], *, options: Sequence[str] = ("-O1",)) -> None:
        """Compile and load; `options` are the C++ compiler's. Raises as `emulated_library`."""
        with tempfile.TemporaryDirectory(prefix="optc-emulated-") as temporary:
            path = Path(temporary) / "kernels.so"
            launches = [launch for kernel in kernels for launch in kernel.launches]
            emulated_library([kernel.source for kernel in kernels], launches, path, options=options)
            self._library = ctypes.CDLL(str(path))

    def run(
        self,
        kernel: CudaKernel,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
    ) -> None:
        """Run a kernel once.

        Args:
            kernel: one of those given.
            inputs: C-contiguous, as stored; packed where the kernel packs them.
            outputs: C-contiguous, as stored; written in place.

        Raises:
            OptcError: a barrier is not reached by all threads.
        """
        scratch = [np.zeros(size, np.uint8) for size in kernel.scratch_bytes]
        arrays = {"input": list(inputs), "output": list(outputs), "scratch": scratch}
        for launch in kernel.launches:
            pointers = [ctypes.c_void_p(arrays[kind][position].ctypes.data) for kind, position in launch.arguments]
            parameters = (ctypes.c_void_p * len(pointers))(*(ctypes.addressof(pointer) for pointer in pointers))
            grid, block = ((ctypes.c_uint * 3)(*each) for each in (launch.grid, launch.block))
            function = getattr(self._library, f"optc_emulate_{launch.function}")
            shared = ctypes.c_size_t(launch.dynamic_shared_bytes)
            if function(grid, block, shared, parameters):
                raise OptcError(f"the emulation of {launch.function} failed")
