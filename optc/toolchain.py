"""Find the C compiler: `$CC`, `cc`, `gcc`, `clang`, or the PyPI package ziglang; and those for other machines."""

from __future__ import annotations

import functools
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from optc.errors import OptcError

_SYSTEM_COMPILERS = ("cc", "gcc", "clang")


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the words that start its command line, and what it says of its version."""

    command: tuple[str, ...]
    version: str

    def run(self, arguments: list[str], folder: Path) -> None:
        """Run in `folder`. Raises OptcError with the compiler's first words when it fails."""
        environment = {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
        try:
            done = subprocess.run(
                [*self.command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
        except OSError as fault:
            raise OptcError(f"cannot run the C compiler '{shlex.join(self.command)}'", why=str(fault)) from fault
        if done.returncode == 0:
            return
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line or "undefined" in line] or lines
        raise OptcError(
            f"the C compiler '{shlex.join(self.command)}' failed with code {done.returncode}",
            why="\n  ".join(errors[:4]) or "it gave no message",
            hint="check that it can link a shared library, or choose another one with the environment variable CC",
        )


def find_compiler() -> Compiler:
    """The first compiler that is there.

    Raises:
        OptcError: none is there, or `$CC` names none.
    """
    return _find(os.environ.get("CC", ""), os.environ.get("PATH", ""))


@functools.cache
def _find(chosen: str, path: str) -> Compiler:
    if words := shlex.split(chosen):
        if not shutil.which(words[0], path=path):
            raise OptcError(f"the C compiler '{words[0]}' does not exist", where="environment variable CC")
        return _identify(tuple(words))
    for name in _SYSTEM_COMPILERS:
        if shutil.which(name, path=path):
            return _identify((name,))
    if importlib.util.find_spec("ziglang"):
        # Without a choice zig compiles for this very CPU; the C runtime must run on the artifact's target.
        return _identify((sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"))
    raise OptcError(
        "no C compiler was found",
        why=f"neither $CC nor {', '.join(_SYSTEM_COMPILERS)} nor the Python package ziglang is there",
        hint="install gcc or clang, or run: pip install ziglang",
    )


def find_cross_compiler(tools: Mapping[str, str], *, static: bool = False) -> Compiler:
    """The compiler for another kind of machine: `$CC_aarch64_linux_gnu` or alike, ziglang, or the GNU cross compiler.

    ziglang goes before the GNU one, since its triple says which libc the program needs at least; the GNU one takes
    that of the machine it is installed on.

    Args:
        tools: `Target.toolchain`.
        static: to link programs that need no library at run time.

    Raises:
        OptcError: none is there, or the variable names none.
    """
    variable = "CC_" + tools.get("prefix", "").replace("-", "_")
    installed = importlib.util.find_spec("ziglang") is not None
    triple = tools.get("zig_static" if static else "zig", "")
    chosen, path = os.environ.get(variable, ""), os.environ.get("PATH", "")
    return _find_cross(tools.get("prefix", ""), triple, chosen, path, installed)


@functools.cache
def _find_cross(prefix: str, triple: str, chosen: str, path: str, zig_installed: bool) -> Compiler:
    if words := shlex.split(chosen):
        if not shutil.which(words[0], path=path):
            variable = "CC_" + prefix.replace("-", "_")
            raise OptcError(f"the C compiler '{words[0]}' does not exist", where=f"environment variable {variable}")
        return _identify(tuple(words))
    if triple and zig_installed:
        return _identify((sys.executable, "-m", "ziglang", "cc", "-target", triple))
    if prefix and shutil.which(f"{prefix}-gcc", path=path):
        return _identify((f"{prefix}-gcc",))
    raise OptcError(
        f"no C compiler for {prefix or triple or 'this target'} was found",
        why=f"neither the Python package ziglang nor {prefix}-gcc is there",
        hint="run: pip install 'optc[zig]'",
    )


def _identify(command: tuple[str, ...]) -> Compiler:
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    except OSError as fault:
        raise OptcError(f"cannot run the C compiler '{shlex.join(command)}'", why=str(fault)) from fault
    return Compiler(command, done.stdout)


@dataclass(frozen=True)
class Tools:
    """The programs that handle object files for a machine, as `ar` and `objcopy` of GNU or LLVM.

    Attributes:
        prefix: of the GNU tools for that machine, `aarch64-linux-gnu`; empty for this one's.
    """

    prefix: str = ""

    def run(self, tool: str, arguments: list[str], folder: Path) -> None:
        """Run a tool in `folder`. Raises OptcError when it is missing or fails."""
        gnu = f"{self.prefix}-{tool}" if self.prefix else tool
        found = next((name for name in (gnu, f"llvm-{tool}") if shutil.which(name)), None)
        if found is None:
            hint = "install binutils or llvm" + (f" for {self.prefix}" if self.prefix else "")
            raise OptcError(f"'{gnu}' was not found", why=f"nor is llvm-{tool} there", hint=hint)
        Compiler((found,), "").run(arguments, folder)
