"""What a native library is on a kind of system: the runtime's files for it, how it is linked, and what goes with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING

from optc.artifact.writing import HEADER, LIBRARY, WEB_LIBRARY

if TYPE_CHECKING:
    from optc.targets.target import Target

_EXPORTS = "exports.map"
_LINK_FILES = {_EXPORTS: "{ global: optc_model_*; local: *; };\n"}


@dataclass(frozen=True)
class Platform:
    """A kind of system.

    Attributes:
        name: of the kind of system.
        folders: of `runtime/` that hold its part of the runtime.
        library: the file's name in an artifact.
        compile: options for every C file.
        link: options for the library.
        exported: functions of the C library that callers need too; with them every export is named to the linker.
        libraries: what it is linked with.
        companions: files of the runtime that go into the artifact beside the library.
        threads: that a run uses where nothing else is said; 0: all that there are.
        runner: the file of `programs/` that runs an artifact once: C, or a script for the target's emulator.
    """

    name: str
    folders: tuple[str, ...]
    library: str
    compile: tuple[str, ...]
    link: tuple[str, ...]
    libraries: tuple[str, ...]
    companions: tuple[str, ...]
    runner: str
    threads: int = 0
    exported: tuple[str, ...] = ()

    def link_options(self) -> tuple[str, ...]:
        """`link`, and the names of the exports where the linker asks for them."""
        names = (*self.exported, *_interface()) if self.exported else ()
        return (*self.link, *(f"-Wl,--export={name}" for name in names))

    def sources(self) -> dict[str, str]:
        """The files of the C runtime by name, the public header included."""
        folder = resources.files("optc.backends.host") / "runtime"
        files = [*folder.iterdir(), *(file for name in self.folders for file in (folder / name).iterdir())]
        return {file.name: file.read_text() for file in sorted(files, key=lambda file: file.name) if _is_c(file.name)}

    def link_files(self) -> dict[str, str]:
        """Files that the options of `link` name."""
        return {name: text for name, text in _LINK_FILES.items() if any(name in option for option in self.link)}

    def shipped(self) -> dict[str, bytes]:
        """The companions' contents."""
        runtime = resources.files("optc.backends.host") / "runtime"
        files = [file for name in self.folders for file in (runtime / name).iterdir() if file.name in self.companions]
        return {file.name: file.read_bytes() for file in files}

    def runner_text(self) -> str:
        """The text of the runner."""
        return (resources.files("optc.backends.host") / "programs" / self.runner).read_text()


def _is_c(name: str) -> bool:
    return name.endswith((".c", ".h"))


def _interface() -> list[str]:
    header = (resources.files("optc.backends.host") / "runtime" / HEADER).read_text()
    return sorted(set(re.findall(r"\b(optc_model_\w+)\(", header)))


_COMPILE = ("-std=c11", "-O2", "-g0", "-fvisibility=hidden")

POSIX = Platform(
    "posix",
    ("cpu", "posix"),
    LIBRARY,
    compile=(*_COMPILE, "-fPIC"),
    link=(
        "-shared",
        "-static-libgcc",
        f"-Wl,-soname,{LIBRARY}",
        "-Wl,--build-id=none",
        "-Wl,--strip-debug",
        f"-Wl,--version-script={_EXPORTS}",
        "-Wl,--as-needed",
        "-Wl,-z,defs",
        "-Wl,-z,noexecstack",
    ),
    libraries=("-lm", "-lpthread"),
    companions=(),
    runner="run_once.c",
)

CUDA = replace(
    POSIX,
    name="cuda",
    folders=("posix", "cuda"),
    libraries=(*POSIX.libraries, "-ldl"),
    threads=1,
)

WEB = Platform(
    "web",
    ("cpu", "web"),
    WEB_LIBRARY,
    compile=_COMPILE,
    link=(
        "-mexec-model=reactor",
        "-Wl,--strip-all",
        "-Wl,-z,stack-size=1048576",
    ),
    libraries=("-lm",),
    companions=("model.mjs",),
    runner="run_once.mjs",
    exported=("aligned_alloc", "free"),
)


def platform_of(target: Target) -> Platform:
    """The platform that a target's code runs on."""
    if target.llvm.get("kind") == "cuda":
        return CUDA
    return WEB if str(target.llvm.get("mtriple", "")).startswith("wasm") else POSIX
