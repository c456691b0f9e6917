"""Link kernels, the generated entry point and the C runtime into libmodel.so, or into a program that runs it once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from optc import cache
from optc.toolchain import Compiler, find_compiler

LIBRARY = "libmodel.so"
HEADER = "optc_model.h"

_COMPILE = ("-std=c11", "-O2", "-g0", "-fPIC", "-fvisibility=hidden")
_LINK = (
    "-shared",
    f"-Wl,-soname,{LIBRARY}",
    "-Wl,--build-id=none",
    "-Wl,--strip-debug",
    "-Wl,--version-script=exports.map",
    "-Wl,--as-needed",
    "-Wl,-z,defs",
    "-Wl,-z,noexecstack",
)
_LIBRARIES = ("-lm", "-lpthread")
_PROGRAM = "run_once.c"
_EXPORTS = "{ global: optc_model_*; local: *; };\n"


def link(entry_source: str, objects: Sequence[bytes], compiler: Compiler | None = None) -> bytes:
    """The bytes of the shared library; the same arguments and compiler give the same bytes.

    Args:
        entry_source: what `emit_entry` wrote.
        objects: ELF object files with the kernels, in a fixed order.
        compiler: for the machine that shall run it; default: this machine's.

    Raises:
        OptcError: no compiler is there, or it fails.
    """
    extra = {"exports.map": _EXPORTS}
    return _link(entry_source, objects, compiler or find_compiler(), extra, _LINK, LIBRARY)


def link_program(entry_source: str, objects: Sequence[bytes], compiler: Compiler) -> bytes:
    """A static program `run_once FOLDER INPUTS OUTPUTS THREADS` that runs the model of an artifact's folder.

    It reads its inputs from one file, one after the other, and writes the outputs in the same way.

    Raises:
        OptcError: the compiler fails.
    """
    extra = {_PROGRAM: (resources.files("optc.backends.host") / "programs" / _PROGRAM).read_text()}
    return _link(entry_source, objects, compiler, extra, (_PROGRAM, "-static"), "run_once")


def _link(
    entry_source: str,
    objects: Sequence[bytes],
    compiler: Compiler,
    extra: Mapping[str, str],
    arguments: Sequence[str],
    output: str,
) -> bytes:
    """The bytes of `output`, linked in a folder that also holds the files `extra`."""
    with tempfile.TemporaryDirectory(prefix="optc-link-") as temporary:
        folder = Path(temporary)
        for name, text in {**runtime_sources(), **extra, "model.c": entry_source}.items():
            (folder / name).write_text(text)
        (folder / "runtime.o").write_bytes(_runtime_object(compiler))
        kernels = [f"kernels_{index}.o" for index in range(len(objects))]
        for name, content in zip(kernels, objects, strict=True):
            (folder / name).write_bytes(content)
        inputs = ["model.c", "runtime.o", *kernels]
        compiler.run([*_COMPILE, *arguments, *inputs, "-o", output, *_LIBRARIES], folder)
        return (folder / output).read_bytes()


def runtime_sources() -> dict[str, str]:
    """The files of the C runtime by name, the public header included."""
    folder = resources.files("optc.backends.host") / "runtime"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {file.name: file.read_text() for file in files if file.name.endswith((".c", ".h"))}


def _runtime_object(compiler: Compiler) -> bytes:
    """The runtime as one relocatable object, from the cache where the same sources were compiled before."""
    sources = runtime_sources()
    recipe = repr((sources, compiler.command, compiler.version, _COMPILE))
    key = hashlib.sha256(recipe.encode()).hexdigest()
    if (known := cache.get("runtime", key)) is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="optc-runtime-") as temporary:
        folder = Path(temporary)
        for name, text in sources.items():
            (folder / name).write_text(text)
        units = [name for name in sources if name.endswith(".c")]
        objects = [f"{name}.o" for name in units]
        for unit, output in zip(units, objects, strict=True):
            compiler.run([*_COMPILE, "-c", unit, "-o", output], folder)
        compiler.run(["-r", "-nostdlib", *objects, "-o", "runtime.o"], folder)
        content = (folder / "runtime.o").read_bytes()
    cache.put("runtime", key, content)
    return content
