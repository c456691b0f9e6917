"""manifest.json: what an artifact is, needs and holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optc.artifact.checks import FormatFault, expect, member
from optc.artifact.host import HostRequirements
from optc.artifact.program_json import tensor_from_json, tensor_to_json
from optc.artifact.sealed import dump, seal, unseal
from optc.program import Branch, CopyStep, KernelCall, Program, TensorInfo, fallback_calls, walk

SCHEMA = 1
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"  # beside the files that a manifest lists

# Path components that no file system gives a meaning of its own: a file, or a file in a folder.
_FILE_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}/)?[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}")


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 (hexadecimal) of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        optc: the version that wrote it.
        target: the target's name.
        host: the machine that the library needs.
        inputs, outputs: the model's interface.
        program: counts and sizes (`kernels`, `copies`, `branches`, `fallbacks`, `arena_bytes`, `weights_bytes`).
        fallbacks: per region that onnxruntime computes, its file, label and reason.
        cost: predicted and measured cost, as the driver states it.
        verification: the result of the comparison with the source model; None when there was none.
        command: what the user typed.
        files: every other file of the folder, by name; `folder/name` where it lies in one of its own.
    """

    optc: str
    target: str
    host: HostRequirements
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    program: Mapping[str, int]
    fallbacks: tuple[Mapping[str, str], ...]
    cost: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] | None = None
    command: str = ""
    files: Mapping[str, FileEntry] = field(default_factory=dict)


def summarize(program: Program) -> dict[str, int]:
    """The counts and sizes that the manifest states of a program."""
    steps = list(walk(program.steps))
    return {
        "kernels": sum(isinstance(step, KernelCall) for step in steps),
        "copies": sum(isinstance(step, CopyStep) for step in steps),
        "branches": sum(isinstance(step, Branch) for step in steps),
        "fallbacks": len(fallback_calls(program)),
        "arena_bytes": program.arena_bytes,
        "weights_bytes": program.weights_bytes,
    }


def is_file_name(name: str) -> bool:
    """Whether an artifact may hold a file of this name."""
    return _FILE_NAME.fullmatch(name) is not None and name not in (MANIFEST, SIGNATURE)


def files_in(folder: Path) -> list[str]:
    """All that lies in a folder and the folders in it, links included, by name with `/`, in order."""
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def encode(manifest: Manifest) -> bytes:
    """The bytes of manifest.json: sorted keys, and a checksum of everything else under `checksum`."""
    return seal(_to_record(manifest))


def decode(content: bytes) -> Manifest:
    """The inverse of `encode`.

    Raises:
        FormatFault: the text is no manifest, was changed after it was written, or has another schema version.
    """
    record = unseal(content, SCHEMA, "manifest")
    if dump(record) != content:
        raise FormatFault("the checksum does not match: the file was changed")
    return _from_record(record)


def with_results(
    manifest: Manifest, *, cost: Mapping[str, Any] | None = None, verification: Mapping[str, Any] | None = None
) -> Manifest:
    """The manifest with what was found after the files were written; None leaves a field as it is."""
    return replace(
        manifest,
        cost=manifest.cost if cost is None else dict(cost),
        verification=manifest.verification if verification is None else dict(verification),
    )


def _to_record(manifest: Manifest) -> dict[str, Any]:
    host = manifest.host
    return {
        "schema": SCHEMA,
        "optc": manifest.optc,
        "target": manifest.target,
        "host": _host_record(host),
        "inputs": [tensor_to_json(info) for info in manifest.inputs],
        "outputs": [tensor_to_json(info) for info in manifest.outputs],
        "program": dict(manifest.program),
        "fallbacks": [dict(entry) for entry in manifest.fallbacks],
        "cost": dict(manifest.cost),
        "verification": manifest.verification,
        "command": manifest.command,
        "files": {name: {"bytes": entry.bytes, "sha256": entry.sha256} for name, entry in manifest.files.items()},
    }


def _host_record(host: HostRequirements) -> dict[str, Any]:
    record = {"system": host.system, "architecture": host.architecture, "features": list(host.features)}
    return record | ({"gpu_code": list(host.gpu_code)} if host.gpu_code else {})


def _from_record(record: Any) -> Manifest:
    host = member(record, "host", dict, "manifest")
    features = member(host, "features", list, "manifest.host")
    verification = record.get("verification")
    files = {}
    for name, entry in member(record, "files", dict, "manifest").items():
        if not is_file_name(name):
            raise FormatFault(f"manifest.files: '{name}' is not a plain file name")
        where = f"manifest.files.{name}"
        files[name] = FileEntry(member(entry, "bytes", int, where), member(entry, "sha256", str, where))
    return Manifest(
        optc=member(record, "optc", str, "manifest"),
        target=member(record, "target", str, "manifest"),
        host=HostRequirements(
            member(host, "system", str, "manifest.host"),
            member(host, "architecture", str, "manifest.host"),
            tuple(expect(name, str, "manifest.host.features") for name in features),
            tuple(_gpu_code(name) for name in expect(host.get("gpu_code", []), list, "manifest.host.gpu_code")),
        ),
        inputs=_tensors(record, "inputs"),
        outputs=_tensors(record, "outputs"),
        program={
            key: expect(value, int, f"manifest.program.{key}")
            for key, value in member(record, "program", dict, "manifest").items()
        },
        fallbacks=tuple(
            {key: member(entry, key, str, "manifest.fallbacks") for key in ("model", "label", "reason")}
            for entry in member(record, "fallbacks", list, "manifest")
        ),
        cost=member(record, "cost", dict, "manifest"),
        verification=None if verification is None else expect(verification, dict, "manifest.verification"),
        command=member(record, "command", str, "manifest"),
        files=files,
    )


def _gpu_code(name: Any) -> str:
    if not re.fullmatch(r"(sm|compute)_[0-9]{2,3}", expect(name, str, "manifest.host.gpu_code")):
        raise FormatFault(f"manifest.host.gpu_code: '{name}' is no kind of GPU")
    return str(name)


def _tensors(record: Any, key: str) -> tuple[TensorInfo, ...]:
    return tuple(tensor_from_json(entry, f"manifest.{key}") for entry in member(record, key, list, "manifest"))
