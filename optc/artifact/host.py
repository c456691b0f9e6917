"""What a native library needs of the machine, and whether this machine has it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from optc.errors import OptcError
from optc.targets.gpu import gpu_refusal
from optc.targets.host import detect, flags_of
from optc.targets.library import host_of
from optc.targets.target import Target

_SYSTEM_OF_TRIPLE = {"linux": "linux", "apple": "darwin", "windows": "win32", "wasi": "wasi"}


@dataclass(frozen=True)
class HostRequirements:
    """The machine that a native library runs on.

    Attributes:
        system: `sys.platform`'s name.
        architecture: `x86_64`, `aarch64` …
        features: CPU features as Linux spells them.
        gpu_code: kinds of GPUs, one of which must be there: `sm_87` for a cubin, `compute_87` for PTX.
    """

    system: str
    architecture: str
    features: tuple[str, ...] = ()
    gpu_code: tuple[str, ...] = ()


def requirements_of(target: Target) -> HostRequirements:
    """What code for a target needs, from its LLVM triple and processor; for one without a triple: this machine."""
    gpu_code = gpu_code_of(target)
    target = host_of(target)
    triple = str(target.llvm.get("mtriple", ""))
    features = tuple(sorted(flags_of(str(target.llvm.get("mcpu", "")))))
    architecture, *rest = triple.split("-")
    systems = [_SYSTEM_OF_TRIPLE[word] for word in rest if word in _SYSTEM_OF_TRIPLE]
    if not systems:
        return HostRequirements(sys.platform, detect().architecture, features, gpu_code)
    return HostRequirements(systems[0], architecture, features, gpu_code)


def gpu_code_of(target: Target) -> tuple[str, ...]:
    """The code that an artifact holds for the GPUs of a target: a cubin for each, and PTX; empty for processors."""
    if target.llvm.get("kind") != "cuda":
        return ()
    own = str(target.llvm["arch"])
    return (*(target.architectures or (own,)), own.replace("sm_", "compute_"))


def check_host(needed: HostRequirements, where: str) -> None:
    """Raise OptcError when code for `needed` cannot run on this machine."""
    if (refusal := host_refusal(needed, where)) is not None:
        raise refusal


def host_refusal(needed: HostRequirements, where: str) -> OptcError | None:
    """What to tell a user who wants to run code for `needed` on this machine; None where it can run."""
    here = detect()
    if (needed.system, needed.architecture) != (sys.platform, here.architecture):
        return OptcError(
            "the artifact was compiled for another kind of machine",
            where=where,
            why=f"it needs {needed.system} on {needed.architecture}, and this is {sys.platform} on {here.architecture}",
            hint="compile the model again with --target cpu",
        )
    missing = [name for name in needed.features if name not in here.flags]
    if missing:
        return OptcError(
            "the artifact needs CPU features that this machine lacks",
            where=where,
            why=f"missing: {', '.join(missing)}",
            hint="compile the model again on this machine, or for an older --target",
        )
    if needed.gpu_code and (reason := gpu_refusal(needed.gpu_code)) is not None:
        return OptcError(
            "the artifact needs a GPU that this machine lacks",
            where=where,
            why=reason,
            hint="run it on a machine with the GPU, or compile the model again with --target cpu",
        )
    return None
