"""What identifies a CUDA kernel: the group's canonical text, the target, and the code that makes kernels."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import resources

from optc.backends.cuda.toolkit import check_architecture
from optc.backends.tvm.group import Group
from optc.backends.tvm.workload import code_version as lowering_version
from optc.backends.tvm.workload import digest, group_digest
from optc.targets.target import Target

_DESCRIBED = ("description", "backends", "energy", "memories", "figures", "toolchain")


def workload_key(group: Group, target: Target) -> str:
    """A hash that is equal for groups that compute the same with the same types on the same target."""
    facts = [(name, value) for name, value in sorted(vars(target).items()) if name not in _DESCRIBED]
    return digest(group_digest(group), facts, code_version())


def kernel_key(workload: str, target: Target) -> str:
    """A hash of all that a compiled kernel depends on, the compiler included."""
    return digest(workload, check_architecture(architecture(target)).version)


def architecture(target: Target) -> str:
    """The `sm_…` of a target."""
    return str(target.llvm.get("arch", ""))


@lru_cache(maxsize=1)
def code_version() -> str:
    """A hash of the sources that make kernels."""
    sources = hashlib.sha256(lowering_version().encode())
    folders = [resources.files("optc.backends.cuda")]
    while folders:
        for entry in sorted(folders.pop().iterdir(), key=lambda each: each.name):
            if entry.is_dir():
                folders.append(entry)
            elif entry.name.endswith((".py", ".cuh")):
                sources.update(entry.read_bytes())
    return sources.hexdigest()
