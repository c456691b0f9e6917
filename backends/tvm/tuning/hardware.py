"""The hardware that a schedule was measured on: what makes it fast there, and nothing that is measured itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.targets.target import Target


def hardware_of(target: Target) -> dict[str, Any]:
    """The instruction set, the registers and the caches, as plain JSON data.

    Cores are left out: each schedule says for how many it is. Bandwidths and peaks are left out: they are figures about
    the same hardware.
    """
    return {
        "llvm": {name: str(value) for name, value in sorted(target.llvm.items())},
        "vector_bytes": target.vector_bytes,
        "vector_registers": target.vector_registers,
        "caches": [[level.bytes, level.shared] for level in target.caches],
    }


def hardware_text(hardware: Mapping[str, Any]) -> str:
    """One line for people."""
    llvm = hardware["llvm"]
    names = " ".join(filter(None, (llvm.get("mtriple"), llvm.get("mcpu"), llvm.get("mattr"))))
    caches = ", ".join(f"{size >> 10} KiB" for size, _ in hardware["caches"])
    return f"{names}, vectors of {hardware['vector_bytes']} bytes, caches of {caches or 'unknown size'}"
