"""PTX that as many drivers as possible compile: its version is what it needs, not what the compiler is of."""

from __future__ import annotations

import hashlib
import re

from optc import cache
from optc.backends.cuda.toolkit import assemble, find_toolkit
from optc.errors import OptcError

KIND = "portable-ptx"

FIRST_VERSIONS = {
    "sm_75": "6.3", "sm_80": "7.0", "sm_86": "7.1", "sm_87": "7.4", "sm_89": "7.8", "sm_90": "7.8",
}  # fmt: skip
"""The first version of PTX with each GPU (PTX ISA, "Release notes")."""


def portable_ptx(ptx: str, arch: str) -> str:
    """The text with the first version that knows the GPU, where ptxas finds nothing in it that came later.

    CUDA 13 writes version 9.0, which no older driver reads.

    Args:
        ptx: for `arch`.
        arch: the GPU, as `sm_87`.

    Raises:
        OptcError: there is no compiler.
    """
    first = FIRST_VERSIONS.get(arch)
    if first is None:
        return ptx
    older = re.sub(r"^\.version [0-9.]+", f".version {first}", ptx, count=1, flags=re.MULTILINE)
    key = hashlib.sha256(f"{find_toolkit().version} {arch} {older}".encode()).hexdigest()
    known = cache.get(KIND, key)
    if known is None:
        known = b"yes" if _assembles(older, arch) else b"no"
        cache.put(KIND, key, known)
    return older if known == b"yes" else ptx


def _assembles(ptx: str, arch: str) -> bool:
    try:
        assemble(ptx, arch)
    except OptcError:
        return False
    return True
