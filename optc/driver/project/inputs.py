"""What the artifact of a unit rests on: files, options, tools and the target; equal inputs need no new compile."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from optc import targets
from optc.artifact.manifest import MANIFEST
from optc.driver.artifacts.depfile import sources_of
from optc.driver.project.config import Unit
from optc.errors import OptcError
from optc.toolchain import find_compiler
from optc.version import __version__

PACKAGES = ("apache-tvm", "numpy", "onnx", "onnxruntime")
"""Whose versions may change what is compiled."""


@dataclass(frozen=True)
class Inputs:
    """What a unit rests on.

    Attributes:
        files: SHA-256 of each, by its path from the project's folder.
        options: the words for `optc compile`.
        target: a hash of all that is known of the target, which for `cpu` is this machine.
    """

    files: dict[str, str]
    options: tuple[str, ...]
    target: str

    def digest(self, tools: dict[str, str]) -> str:
        """A hash of everything, the versions of the tools included."""
        return _digest([self.files, self.options, self.target, tools])


def inputs_of(unit: Unit, base: Path) -> Inputs:
    """What a unit rests on now.

    Raises:
        OptcError: a file cannot be read, or the target is unknown.
    """
    files = {}
    for path in sources_of(unit.file, unit.target, unit.data):
        try:
            with open(path, "rb") as file:
                files[_from(base, path)] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as fault:
            raise OptcError("the file cannot be read", where=str(path), why=fault.strerror) from fault
    target = dataclasses.asdict(targets.load(unit.target))
    options = tuple(_from(base, Path(word)) if os.path.isabs(word) else word for word in unit.options)
    return Inputs(files, options, _digest(target))


def tools() -> dict[str, str]:
    """The versions that matter, by name."""
    found = {"optc": __version__, "cc": (find_compiler().version.splitlines() or ["unknown"])[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def artifact_digest(folder: Path) -> str | None:
    """The SHA-256 of an artifact's manifest, which names those of its files; None where a file is not as it says."""
    try:
        content = (folder / MANIFEST).read_bytes()
        files = json.loads(content)["files"]
        for name, entry in files.items():
            with open(folder / name, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return hashlib.sha256(content).hexdigest()


def _from(base: Path, path: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
