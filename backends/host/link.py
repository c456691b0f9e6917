"""Link kernels, the generated entry point and the C runtime into a library, or into a program that runs it once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path

from optc import cache
from optc.backends.host.platform import HEADER, POSIX, Platform
from optc.toolchain import Compiler, find_compiler

__all__ = ["HEADER", "link", "link_program", "link_runner", "link_server", "runtime_sources"]

_SERVER = "device_server.c"


def link(
    entry_source: str, objects: Sequence[bytes], compiler: Compiler | None = None, platform: Platform = POSIX
) -> bytes:
    """The bytes of the library; the same arguments and compiler give the same bytes.

    Args:
        entry_source: what `emit_entry` wrote.
        objects: object files with the kernels, in a fixed order.
        compiler: for the machine that shall run it; default: this machine's.
        platform: of that machine.

    Raises:
        OptcError: no compiler is there, or it fails.
    """
    extra, options = platform.link_files(), platform.link_options()
    return _link(entry_source, objects, compiler or find_compiler(), platform, extra, options, platform.library)


def link_program(entry_source: str, objects: Sequence[bytes], compiler: Compiler) -> bytes:
    """A static program `run_once FOLDER INPUTS OUTPUTS THREADS` that runs the model of an artifact's folder.

    It reads its inputs from one file, one after the other, and writes the outputs in the same way.

    Raises:
        OptcError: the compiler fails.
    """
    extra = {POSIX.runner: POSIX.runner_text()}
    return _link(entry_source, objects, compiler, POSIX, extra, (POSIX.runner, "-static"), "run_once")


def link_runner(library: Path, compiler: Compiler, search: str | None = None) -> bytes:
    """A program as `link_program`'s that runs the model of a library where that lies.

    Args:
        library: the file.
        compiler: for the machine that runs it.
        search: the folder that has the library when the program starts; `$ORIGIN` for the program's own.

    Raises:
        OptcError: the compiler fails.
    """
    with tempfile.TemporaryDirectory(prefix="optc-runner-") as temporary:
        folder = Path(temporary)
        (folder / HEADER).write_text(POSIX.sources()[HEADER])
        (folder / POSIX.runner).write_text(POSIX.runner_text())
        place = library.absolute()
        path = f"-Wl,-rpath,{search or place.parent}"
        compiler.run(["-std=c11", "-O1", POSIX.runner, str(place), path, "-o", "run"], folder)
        return (folder / "run").read_bytes()


def link_server(compiler: Compiler) -> bytes:
    """The static program `device_server ADDRESS PORT FOLDER SECRET_FILE`, by which a device runs what it is sent.

    Raises:
        OptcError: the compiler fails.
    """
    with tempfile.TemporaryDirectory(prefix="optc-server-") as temporary:
        folder = Path(temporary)
        programs = resources.files("optc.backends.host") / "programs"
        for name in (_SERVER, "sha256.h"):
            (folder / name).write_text((programs / name).read_text())
        compiler.run(["-std=c11", "-O2", "-static", "-s", _SERVER, "-o", "server"], folder)
        return (folder / "server").read_bytes()


def _link(
    entry_source: str,
    objects: Sequence[bytes],
    compiler: Compiler,
    platform: Platform,
    extra: Mapping[str, str],
    arguments: Sequence[str],
    output: str,
) -> bytes:
    """The bytes of `output`, linked in a folder that also holds the files `extra`."""
    with tempfile.TemporaryDirectory(prefix="optc-link-") as temporary:
        folder = Path(temporary)
        for name, text in {**platform.sources(), **extra, "model.c": entry_source}.items():
            (folder / name).write_text(text)
        compiled = {f"kernels_{index}.o": content for index, content in enumerate(objects)}
        compiled = {**runtime_objects(compiler, platform), **compiled}
        for name, content in compiled.items():
            (folder / name).write_bytes(content)
        inputs = ["model.c", *compiled]
        compiler.run([*platform.compile, *arguments, *inputs, "-o", output, *platform.libraries], folder)
        return (folder / output).read_bytes()


def runtime_sources(platform: Platform = POSIX) -> dict[str, str]:
    """The files of the C runtime by name, the public header included."""
    return platform.sources()


def runtime_objects(compiler: Compiler, platform: Platform) -> dict[str, bytes]:
    """The runtime's object files, from the cache where the same sources were compiled before."""
    sources = platform.sources()
    recipe = repr((sources, compiler.command, compiler.version, platform.compile))
    units = [name for name in sources if name.endswith(".c")]

    def compiled(unit: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="optc-runtime-") as temporary:
            folder = Path(temporary)
            for name, text in sources.items():
                (folder / name).write_text(text)
            compiler.run([*platform.compile, "-c", unit, "-o", f"{unit}.o"], folder)
            return (folder / f"{unit}.o").read_bytes()

    keys = {unit: hashlib.sha256(f"{unit} {recipe}".encode()).hexdigest() for unit in units}
    return {f"{unit}.o": cache.made("runtime", keys[unit], partial(compiled, unit)) for unit in units}
