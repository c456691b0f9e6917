"""Whether code for a target runs on this kind of machine, and what compiles it where it does not."""

from __future__ import annotations

from optc.targets.host import detect
from optc.targets.library import host_of
from optc.targets.target import Target
from optc.toolchain import Compiler, find_compiler, find_cross_compiler


def is_foreign(target: Target) -> bool:
    """Whether the target's processor is of another architecture than this machine's; False without a triple."""
    architecture = str(host_of(target).llvm.get("mtriple", "")).split("-")[0]
    return bool(architecture) and architecture != detect().architecture


def compiler_for(target: Target, *, static: bool = False) -> Compiler:
    """The C compiler whose code runs on the target; `static`: that links programs which need no library there.

    Raises:
        OptcError: none is there.
    """
    return find_cross_compiler(host_of(target).toolchain, static=static) if is_foreign(target) else find_compiler()
