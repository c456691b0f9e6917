"""What identifies a kernel: the group's canonical text, the target, the template and the code that makes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources

from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Choice, Template
from optc.ir.printer import canonical_text
from optc.targets.target import Target
from optc.version import __version__


@dataclass(frozen=True)
class Workload:
    """A distinct group with the templates that compete for its kernel.

    Attributes:
        key: its `workload_key`.
        group: one of the equal groups.
        templates: in no particular order.
        calls: how often the model runs the kernel.
    """

    key: str
    group: Group
    templates: tuple[Template, ...]
    calls: int = 1


def group_digest(group: Group) -> str:
    """A hash that is equal for groups that compute the same with the same types."""
    return digest(canonical_text(group.body), sorted(group.constants))


def workload_key(group: Group, target: Target) -> str:
    """A hash that is equal for groups that compute the same with the same types on the same target."""
    return digest(group_digest(group), _facts(target), code_version())


def kernel_key(workload: str, choice: Choice) -> str:
    """A hash of everything that a kernel's code depends on."""
    return digest(workload, choice.template.name, choice.schedule)


def _facts(target: Target) -> list[tuple[str, object]]:
    """What templates may ask of a target: cores and caches decide about threads and tiles."""
    described = ("name", "description", "backends", "figures", "energy", "memories")
    return [(each.name, getattr(target, each.name)) for each in fields(target) if each.name not in described]


def digest(*parts: object) -> str:
    """A hash of plain data."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


@lru_cache(maxsize=1)
def code_version() -> str:
    """A hash of this backend's own sources, so that no kernel outlives the code that made it."""
    sources = hashlib.sha256(__version__.encode())
    folders = [resources.files("optc.backends.tvm")]
    while folders:
        for entry in sorted(folders.pop().iterdir(), key=lambda each: each.name):
            if entry.is_dir():
                folders.append(entry)
            elif entry.name.endswith(".py"):
                sources.update(entry.read_bytes())
    return sources.hexdigest()
