"""C sources of this package as loaded libraries, built on first use by the compiler that links artifacts anyway."""

from __future__ import annotations

import ctypes
import functools
import os
import tempfile
from importlib.resources import files
from pathlib import Path

from optc import cache
from optc.toolchain import find_compiler

KIND = "native"


@functools.cache
def library(package: str, source: str, *flags: str) -> ctypes.CDLL:
    """The library of one C file; it is kept in the cache.

    Args:
        package: holds the file, dotted.
        source: the file's name.
        flags: for the compiler, beside those of every shared library.

    Raises:
        OptcError: there is no C compiler, or it fails.
    """
    with tempfile.TemporaryDirectory(prefix="optc-native-") as folder:
        made = Path(folder) / "native.so"
        made.write_bytes(built(package, source, *flags))
        return ctypes.CDLL(os.fspath(made))


def built(package: str, source: str, *flags: str) -> bytes:
    """The file of such a library, which is kept in the cache; arguments and errors as for `library`."""
    text = files(package).joinpath(source).read_bytes()
    words = [*(flags or ("-O2",)), "-shared", "-fPIC"]
    compiler = find_compiler()
    key = repr((text, compiler.command, compiler.version, words))

    def build() -> bytes:
        with tempfile.TemporaryDirectory(prefix="optc-native-") as folder:
            (Path(folder) / source).write_bytes(text)
            compiler.run([*words, source, "-o", "native.so"], Path(folder))
            return (Path(folder) / "native.so").read_bytes()

    return cache.made(KIND, key, build)
