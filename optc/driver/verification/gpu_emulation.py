"""Run the artifact of a GPU where there is none: its library with an emulated driver, its kernels as C++."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from optc.artifact.writing import LIBRARY, Contents
from optc.backends.cuda.emulator.build import emulated_library, find_cxx
from optc.backends.cuda.emulator.driver import NAME, driver_library
from optc.backends.cuda.kernel import CudaKernel
from optc.backends.cuda.toolkit import find_toolkit
from optc.backends.host.launches import launch_object
from optc.backends.host.link import link, link_runner
from optc.backends.host.platform import CUDA
from optc.driver.verification.emulation import Linkable
from optc.errors import OptcError
from optc.runtime.emulated import EmulatedArtifact
from optc.targets.foreign import is_foreign
from optc.targets.target import Target
from optc.toolchain import Compiler, find_compiler

EMULATOR = "an emulation of the GPU"
MOST_FLOPS = 10_000_000_000
"""Of a model that is emulated while it is compiled: some minutes on one core."""


def why_not_emulated(contents: Contents) -> str | None:
    """Why an artifact is not run while it is compiled; None where it is."""
    if contents.fallbacks:
        return "some regions need onnxruntime"
    try:
        find_cxx()
        find_compiler()
    except OptcError as error:
        return f"{error.what}, which the emulation of a GPU needs"
    flops = sum(step["flops"] for step in contents.decisions["steps"])
    if flops > MOST_FLOPS:
        return f"the emulation of {flops / 1e9:.1f} GFLOP takes too long"
    return None


@contextlib.contextmanager
def emulated_gpu(folder: Path, linkable: Linkable, target: Target) -> Iterator[EmulatedArtifact]:
    """The artifact in `folder`, ready to run on this machine's processors.

    What runs is the library of the artifact, or where that is for other processors the same source compiled for these.

    Raises:
        OptcError: there is no C++ compiler, or one of the sources does not compile.
    """
    with tempfile.TemporaryDirectory(prefix="optc-gpu-") as temporary:
        place, compiler = Path(temporary), find_compiler()
        library = folder / LIBRARY
        if is_foreign(target):
            library = place / LIBRARY
            launches = launch_object(linkable.launched, compiler, find_toolkit().version)
            library.write_bytes(link(linkable.entry, [launches], compiler, CUDA))
        kernels = [each.kernel for each in linkable.launched]
        command = emulated_command(place, library, kernels, compiler, str(target.llvm["arch"]))
        yield EmulatedArtifact(folder, command)


def emulated_command(
    place: Path, library: Path, kernels: Sequence[CudaKernel], compiler: Compiler, arch: str
) -> list[str]:
    """The words that start a program which runs `library` with an emulated driver; `place` gets its files."""
    (place / NAME).write_bytes(driver_library(compiler))
    launches = [launch for kernel in kernels for launch in kernel.launches]
    emulated_library([kernel.source for kernel in kernels], launches, place / "kernels.so", options=("-O2",))
    program = place / "run_once"
    program.write_bytes(link_runner(library, compiler))
    program.chmod(0o755)
    environment = {
        "LD_LIBRARY_PATH": str(place),
        "OPTC_EMULATED_SM": arch.removeprefix("sm_"),
        "OPTC_EMULATED_KERNELS": str(place / "kernels.so"),
    }
    return ["env", *(f"{name}={value}" for name, value in environment.items()), str(program)]
