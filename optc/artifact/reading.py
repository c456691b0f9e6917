"""Read an artifact folder: nothing in it is used before it is checked."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optc.artifact import manifest as manifest_format
from optc.artifact.checks import FormatFault, member
from optc.artifact.host import check_host as check_host_requirements
from optc.artifact.manifest import MANIFEST, Manifest
from optc.artifact.program_json import program_from_json
from optc.artifact.writing import HEADER, LIBRARIES, LIBRARY, MODULE, PLAN, PLAN_SCHEMA, WEIGHTS
from optc.errors import OptcError
from optc.program import Program, fallback_calls

_REQUIRED = (WEIGHTS, PLAN, MODULE, HEADER)
_MANIFEST_LIMIT = 64 << 20
_PLAN_LIMIT = 256 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ArtifactFiles:
    """A checked artifact folder.

    Attributes:
        folder: where it lies.
        manifest: the content of manifest.json.
        program: the steps of the native library.
        decisions: what the passes chose and why.
    """

    folder: Path
    manifest: Manifest
    program: Program
    decisions: Mapping[str, Any]


def read(folder: str | Path, *, check_host: bool = True) -> ArtifactFiles:
    """Check an artifact folder completely and return what it says.

    Args:
        folder: the artifact.
        check_host: refuse an artifact whose library cannot run on this machine.

    Raises:
        OptcError: there is no artifact, it is damaged or of another schema version, or this machine cannot run it.
    """
    folder = Path(folder)
    try:
        manifest = _read_manifest(folder)
        if manifest.files[PLAN].bytes > _PLAN_LIMIT:
            raise FormatFault(f"{PLAN} is too large")
        for name in manifest.files:
            _check_file(folder, name, manifest)
        program, decisions = _read_plan(folder, manifest)
    except FormatFault as fault:
        hint = "compile the model again"
        raise OptcError("the artifact is damaged", where=str(folder), why=str(fault), hint=hint) from fault
    except OSError as fault:
        why = fault.strerror or str(fault)
        raise OptcError("the artifact cannot be read", where=str(fault.filename or folder), why=why) from fault
    if check_host:
        check_host_requirements(manifest.host, str(folder))
    return ArtifactFiles(folder, manifest, program, decisions)


def _read_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "does not exist"
        raise OptcError(f"the artifact {problem}", where=str(folder), hint="give the folder that optc compile wrote")
    path = folder / MANIFEST
    if not os.path.lexists(path):
        hint = "give the folder that optc compile wrote"
        raise OptcError("the folder is no optc artifact", where=str(folder), why="it has no manifest.json", hint=hint)
    if _regular_size(path) > _MANIFEST_LIMIT:
        raise FormatFault("manifest.json is too large")
    try:
        manifest = manifest_format.decode(path.read_bytes())
    except FormatFault as fault:
        raise FormatFault(f"{MANIFEST}: {fault}") from fault
    if not any(name in manifest.files for name in LIBRARIES):
        raise FormatFault(f"{MANIFEST} does not list {LIBRARY}")
    for name in _REQUIRED:
        if name not in manifest.files:
            raise FormatFault(f"{MANIFEST} does not list {name}")
    return manifest


def _regular_size(path: Path) -> int:
    """The size of a file that is neither a link nor anything else but a file. Raises FormatFault, OSError."""
    try:
        status = os.lstat(path)
    except FileNotFoundError as fault:
        raise FormatFault(f"{path.name} is missing") from fault
    if not stat.S_ISREG(status.st_mode):
        raise FormatFault(f"{path.name} is not a regular file")
    return status.st_size


def _check_file(folder: Path, name: str, manifest: Manifest) -> None:
    entry, path = manifest.files[name], folder / name
    if path.parent != folder and (path.parent.is_symlink() or not path.parent.is_dir()):
        raise FormatFault(f"{path.parent.name} is not a regular folder")
    size = _regular_size(path)
    if size != entry.bytes:
        raise FormatFault(f"{name} has {size} bytes instead of {entry.bytes}")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    if digest.hexdigest() != entry.sha256:
        raise FormatFault(f"the checksum of {name} does not match: the file was changed")


def _read_plan(folder: Path, manifest: Manifest) -> tuple[Program, Mapping[str, Any]]:
    try:
        record = json.loads((folder / PLAN).read_bytes())
    except (ValueError, RecursionError) as fault:
        raise FormatFault(f"{PLAN} is not valid JSON: {fault}") from fault
    if (schema := member(record, "schema", int, PLAN)) != PLAN_SCHEMA:
        raise FormatFault(f"{PLAN} has schema version {schema}, and this optc reads version {PLAN_SCHEMA}")
    program = program_from_json(member(record, "program", dict, PLAN))
    if (program.inputs, program.outputs) != (manifest.inputs, manifest.outputs):
        raise FormatFault(f"{PLAN} and {MANIFEST} name different inputs or outputs")
    if (size := manifest.files[WEIGHTS].bytes) != program.weights_file_bytes:
        raise FormatFault(f"{WEIGHTS} has {size} bytes, and the program uses {program.weights_file_bytes}")
    for call in fallback_calls(program):
        if call.model not in manifest.files:
            raise FormatFault(f"the program calls {call.model}, which {MANIFEST} does not list")
    return program, member(record, "decisions", dict, PLAN)
