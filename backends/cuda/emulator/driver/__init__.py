"""A CUDA driver without a GPU, as a shared library."""

from __future__ import annotations

import hashlib
import tempfile
from importlib import resources
from pathlib import Path

from optc import cache
from optc.toolchain import Compiler

NAME = "libcuda.so.1"

_OPTIONS = ["-std=c11", "-O1", "-fPIC", "-shared", "-fvisibility=hidden"]


def driver_sources() -> dict[str, str]:
    """Its files by name."""
    folder = resources.files("optc.backends.cuda.emulator") / "driver"
    return {entry.name: entry.read_text() for entry in folder.iterdir() if entry.name.endswith((".c", ".h"))}


def driver_library(compiler: Compiler) -> bytes:
    """The library, compiled for the machine that `compiler` compiles for, or as it lies in the cache.

    Raises:
        OptcError: the compiler fails.
    """
    sources = driver_sources()
    recipe = repr((sorted(sources.items()), _OPTIONS, compiler.command, compiler.version))
    key = hashlib.sha256(recipe.encode()).hexdigest()
    if (known := cache.get("emulated-driver", key)) is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="optc-driver-") as temporary:
        folder = Path(temporary)
        for name, text in sources.items():
            (folder / name).write_text(text)
        units = sorted(name for name in sources if name.endswith(".c"))
        compiler.run([*_OPTIONS, *units, "-o", NAME, "-ldl", "-lpthread"], folder)
        made = (folder / NAME).read_bytes()
    cache.put("emulated-driver", key, made)
    return made
