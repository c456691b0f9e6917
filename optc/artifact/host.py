"""What a native library needs of the machine, and whether this machine has it."""

from __future__ import annotations

import functools
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from optc.errors import OptcError

_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}

# LLVM's names where Linux has another one; both without separators.
_FEATURE_ALIASES = {
    "abm": "lzcnt",
    "pni": "sse3",
    "pclmulqdq": "pclmul",
    "bmi1": "bmi",
    "shani": "sha",
    "rdrand": "rdrnd",
    "asimd": "neon",
    "asimddp": "dotprod",
    "fphp": "fullfp16",
    "asimdhp": "fullfp16",
}


@dataclass(frozen=True)
class HostRequirements:
    """The machine that a native library runs on.

    Attributes:
        system: `sys.platform`'s name.
        architecture: as `uname -m` says it on Linux (`x86_64`, `aarch64`, `riscv64`).
        features: CPU features, in any of Linux's or LLVM's spellings (`avx512_vnni`, `avx512vnni`).
    """

    system: str
    architecture: str
    features: tuple[str, ...] = ()


def this_host() -> HostRequirements:
    """This machine with all of its CPU's features."""
    return HostRequirements(sys.platform, host_architecture(), tuple(sorted(host_features() or ())))


def host_architecture() -> str:
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def normalize_feature(name: str) -> str:
    """One spelling for a CPU feature: LLVM's, in lower case, without separators."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return _FEATURE_ALIASES.get(plain, plain)


@functools.cache
def host_features() -> frozenset[str] | None:
    """The normalized features of this CPU; None where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(normalize_feature(name) for name in line[1].split()) if line else None


def check_host(needed: HostRequirements, where: str) -> None:
    """Raise OptcError when code for `needed` cannot run on this machine."""
    here = this_host()
    if (needed.system, needed.architecture) != (here.system, here.architecture):
        raise OptcError(
            "the artifact was compiled for another kind of machine",
            where=where,
            why=f"it needs {needed.system} on {needed.architecture}, and this is {here.system} on {here.architecture}",
            hint="compile the model again with --target cpu",
        )
    missing = missing_features(needed.features)
    if missing:
        raise OptcError(
            "the artifact needs CPU features that this machine lacks",
            where=where,
            why=f"missing: {', '.join(missing)}",
            hint="compile the model again on this machine, or for an older --target",
        )


def missing_features(needed: Iterable[str]) -> list[str]:
    """Those of `needed` that this CPU lacks; none where the system does not tell its features."""
    present = host_features()
    return [] if present is None else [name for name in needed if normalize_feature(name) not in present]
