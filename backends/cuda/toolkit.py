"""NVIDIA's compiler: where it is, which GPUs it knows, and what it makes of a source.

It comes with a CUDA toolkit (`$CUDA_HOME`, `$CUDA_PATH` or `$PATH`), or as Python packages (`optc[cuda]`).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optc.backends.cuda.runtime import runtime_headers
from optc.errors import OptcError, UsageError

HINT = "install a CUDA toolkit, or run: pip install 'optc[cuda]'"


@dataclass(frozen=True)
class Toolkit:
    """An installed compiler.

    Attributes:
        nvcc: from CUDA C++ to PTX.
        ptxas: from PTX to cubin.
        version: as nvcc states it.
        architectures: the `sm_…` that it compiles for.
    """

    nvcc: str
    ptxas: str
    version: str
    architectures: tuple[str, ...]


@dataclass(frozen=True)
class Resources:
    """What ptxas says of a function: registers of a thread; bytes of spills, of the stack, of static shared memory."""

    registers: int
    spill_bytes: int
    stack_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class Assembled:
    """A cubin, and what each function in it takes."""

    cubin: bytes
    resources: Mapping[str, Resources]


def find_toolkit() -> Toolkit:
    """The first compiler that is there.

    Raises:
        OptcError: there is none, or it does not run.
    """
    chosen = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or ""
    return _find(chosen, os.environ.get("PATH", ""))


def check_architecture(arch: str) -> Toolkit:
    """The compiler, when it compiles for a GPU.

    Raises:
        OptcError: there is no compiler.
        UsageError: it does not know the GPU.
    """
    toolkit = find_toolkit()
    if arch in toolkit.architectures:
        return toolkit
    known = toolkit.architectures
    older = int(arch.removeprefix("sm_")) < min(int(each.removeprefix("sm_")) for each in known)
    raise UsageError(
        f"CUDA {toolkit.version} does not compile for {arch}",
        why=f"{toolkit.nvcc} knows {', '.join(known)}",
        hint=f"CUDA 12 was the last release for {arch}: set CUDA_HOME to one" if older else "install a newer CUDA",
    )


@functools.cache
def _find(chosen: str, path: str) -> Toolkit:
    places = [Path(chosen) / "bin"] if chosen else []
    found = shutil.which("nvcc", path=path)
    places += [Path(found).parent] if found else []
    places += _package_folders()
    for place in places:
        nvcc, ptxas = place / "nvcc", place / "ptxas"
        if nvcc.is_file() and ptxas.is_file():
            return _identified(str(nvcc), str(ptxas))
    if chosen:
        raise OptcError(f"there is no nvcc in {chosen}/bin", where="environment variable CUDA_HOME", hint=HINT)
    raise OptcError("no CUDA compiler was found", why="neither nvcc nor the Python package nvidia-cuda-nvcc is there",
                    hint=HINT)  # fmt: skip


def _package_folders() -> list[Path]:
    """Folders of the Python packages that hold nvcc, the newest first."""
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    return sorted((folder for root in roots for folder in root.glob("cu*/bin")), reverse=True)


def _identified(nvcc: str, ptxas: str) -> Toolkit:
    said = _run([nvcc, "--version"])
    release = re.search(r"release ([0-9.]+)", said)
    listed = re.findall(r"^compute_(\d+)$", _run([nvcc, "--list-gpu-arch"]), re.MULTILINE)
    names = tuple(f"sm_{number}" for number in sorted(map(int, listed)))
    return Toolkit(nvcc, ptxas, release.group(1) if release else "?", names)


def _run(command: Sequence[str], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as fault:
        raise OptcError(f"cannot run '{command[0]}'", why=str(fault)) from fault
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()] or lines
        lacks_host = any("host compiler" in line for line in lines)
        raise OptcError(
            f"'{command[0]}' failed with code {done.returncode}",
            why="\n  ".join(errors[:6]) or "it gave no message",
            hint="nvcc needs a C++ compiler beside it: install g++" if lacks_host else None,
        )
    return done.stdout + done.stderr


def compile_ptx(source: str, arch: str) -> str:
    """PTX of a source that includes the runtime's headers.

    Raises:
        OptcError: there is no compiler, or it refuses the source.
        UsageError: it does not know the GPU.
    """
    toolkit = check_architecture(arch)
    with tempfile.TemporaryDirectory(prefix="optc-cuda-") as temporary:
        folder = Path(temporary)
        for name, text in runtime_headers().items():
            (folder / name).write_text(text)
        (folder / "kernels.cu").write_text(source)
        options = ["-w", "-std=c++17", f"-arch={arch.replace('sm_', 'compute_')}", "-ptx", "-I."]
        _run([toolkit.nvcc, *options, "kernels.cu", "-o", "kernels.ptx"], folder)
        return (folder / "kernels.ptx").read_text()


def assemble(ptx: str, arch: str) -> Assembled:
    """The cubin of PTX, and what its functions take.

    Raises:
        OptcError: as for `compile_ptx`.
    """
    toolkit = check_architecture(arch)
    with tempfile.TemporaryDirectory(prefix="optc-cuda-") as temporary:
        folder = Path(temporary)
        (folder / "kernels.ptx").write_text(ptx)
        said = _run([toolkit.ptxas, f"-arch={arch}", "-v", "kernels.ptx", "-o", "kernels.cubin"], folder)
        return Assembled((folder / "kernels.cubin").read_bytes(), parse_resources(said))


_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


def parse_resources(said: str) -> dict[str, Resources]:
    """What `ptxas -v` says, by function."""
    found: dict[str, Resources] = {}
    name, stack, spills = "", 0, 0
    for line in said.splitlines():
        if entry := _ENTRY.search(line):
            name, stack, spills = entry.group(1), 0, 0
        elif frame := _FRAME.search(line):
            stack, spills = int(frame.group(1)), int(frame.group(2)) + int(frame.group(3))
        elif name and (used := _USED.search(line)):
            shared = _SHARED.search(line)
            found[name] = Resources(int(used.group(1)), spills, stack, int(shared.group(1)) if shared else 0)
    return found
