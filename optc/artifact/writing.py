"""Write an artifact folder: in a hidden folder beside it, then renamed into place as a whole."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optc.artifact import manifest as manifest_format
from optc.artifact.host import HostRequirements
from optc.artifact.leftovers import RETIRED, held_folder, let_go, sweep
from optc.artifact.manifest import MANIFEST, SIGNATURE, FileEntry, Manifest
from optc.artifact.program_json import program_to_json
from optc.errors import InternalError, OptcError
from optc.program import Program, fallback_calls
from optc.version import __version__

LIBRARY = "libmodel.so"
WEB_LIBRARY = "model.wasm"
LIBRARIES = (LIBRARY, WEB_LIBRARY)
WEIGHTS = "weights.bin"
PLAN = "plan.json"
MODULE = "module.mlir"
HEADER = "optc_model.h"

PLAN_SCHEMA = 1

Piece = bytes | memoryview


@dataclass(frozen=True)
class Contents:
    """What goes into an artifact.

    Attributes:
        program: the steps of the native library.
        target: the target's name.
        host: the machine that the library needs.
        library: the native library.
        library_name: its file, one of LIBRARIES.
        header: optc_model.h.
        weights: the pieces of weights.bin in order, `program.weights_file_bytes` together.
        module: the text of the IR module.
        decisions: what the passes chose and why, as plain JSON data.
        fallbacks: the ONNX files of the regions that onnxruntime computes.
        extra: any other files.
        cost, verification, command: see `Manifest`.
    """

    program: Program
    target: str
    host: HostRequirements
    library: bytes
    header: bytes
    weights: Iterable[Piece]
    module: str
    decisions: Mapping[str, Any] = field(default_factory=dict)
    fallbacks: Mapping[str, bytes] = field(default_factory=dict)
    extra: Mapping[str, bytes] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] | None = None
    command: str = ""
    library_name: str = LIBRARY


class Staging:
    """An artifact that is complete but not yet in its place; made by `stage`.

    Attributes:
        folder: where it lies for now; it can be loaded and run from there.
    """

    def __init__(self, folder: Path, destination: Path) -> None:
        self.folder = folder
        self._destination = destination
        self._manifest: Manifest | None = None

    def fill(self, contents: Contents) -> None:
        """Write all files. Raises OptcError when the disk does not take them."""
        with _disk_errors(self._destination):
            files = {name: _write_file(self.folder / name, pieces) for name, pieces in _pieces(contents).items()}
            if files[WEIGHTS].bytes != contents.program.weights_file_bytes:
                size, wanted = files[WEIGHTS].bytes, contents.program.weights_file_bytes
                raise InternalError(f"weights of {size} bytes, and the program says {wanted}")
            self._manifest = _manifest(contents, files)
            _write_file(self.folder / MANIFEST, [manifest_format.encode(self._manifest)])

    def annotate(self, *, cost: Mapping[str, Any] | None = None, verification: Mapping[str, Any] | None = None) -> None:
        """Add to the manifest what was found by running the staged artifact."""
        if self._manifest is None:
            raise InternalError("an artifact is annotated before it is filled")
        self._manifest = manifest_format.with_results(self._manifest, cost=cost, verification=verification)
        with _disk_errors(self._destination):
            _write_file(self.folder / MANIFEST, [manifest_format.encode(self._manifest)])

    def commit(self) -> Path:
        """Put the artifact in its place, in one step where the system can; returns the artifact's folder."""
        with _disk_errors(self._destination):
            _sync_folder(self.folder)
            _check_replaceable(self._destination)
            _move_into_place(self.folder, self._destination)
            _sync_folder(self._destination.parent)
        return self._destination


@contextlib.contextmanager
def stage(folder: str | Path) -> Iterator[Staging]:
    """Prepare an artifact for `folder`; without a `commit`, or after an error, nothing is left and nothing changed.

    Raises:
        OptcError: `folder` holds something that is no artifact, or the disk cannot be written.
    """
    destination = Path(os.path.realpath(folder))
    created: list[Path] = []
    temporary: Path | None = None
    handle: int | None = None
    try:
        with _disk_errors(destination):
            sweep(destination)
            _check_replaceable(destination)
            _make_parents(destination.parent, created)
            temporary, handle = held_folder(destination)
        yield Staging(temporary, destination)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if handle is not None:
            let_go(handle)
        for parent in reversed(created):
            with contextlib.suppress(OSError):
                parent.rmdir()


def write(folder: str | Path, contents: Contents) -> Path:
    """Write an artifact; the same contents give the same bytes. See `stage` for the errors."""
    with stage(folder) as staging:
        staging.fill(contents)
        return staging.commit()


def _pieces(contents: Contents) -> dict[str, Iterable[Piece]]:
    plan = {"schema": PLAN_SCHEMA, "program": program_to_json(contents.program), "decisions": contents.decisions}
    files: dict[str, Iterable[Piece]] = {
        contents.library_name: [contents.library],
        HEADER: [contents.header],
        WEIGHTS: contents.weights,
        MODULE: [contents.module.encode()],
        PLAN: [(json.dumps(plan, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()],
    }
    for name, content in [*contents.fallbacks.items(), *contents.extra.items()]:
        if name in files or not manifest_format.is_file_name(name):
            raise InternalError(f"an artifact cannot hold another file named '{name}'")
        files[name] = [content]
    missing = [call.model for call in fallback_calls(contents.program) if call.model not in files]
    if missing:
        raise InternalError(f"the program calls {missing[0]}, which is not among the fallback models")
    return files


def _manifest(contents: Contents, files: Mapping[str, FileEntry]) -> Manifest:
    return Manifest(
        optc=__version__,
        target=contents.target,
        host=contents.host,
        inputs=contents.program.inputs,
        outputs=contents.program.outputs,
        program=manifest_format.summarize(contents.program),
        fallbacks=tuple(
            {"model": call.model, "label": call.label, "reason": call.reason}
            for call in fallback_calls(contents.program)
        ),
        cost=contents.cost,
        verification=contents.verification,
        command=contents.command,
        files=files,
    )


def _write_file(path: Path, pieces: Iterable[Piece]) -> FileEntry:
    digest = hashlib.sha256()
    size = 0
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(size, digest.hexdigest())


def _check_replaceable(destination: Path) -> None:
    """Only an empty folder or an artifact, without a file that its manifest does not list, is ever replaced."""
    if not os.path.lexists(destination):
        return
    hint = "choose another output folder, or remove it yourself"
    if not destination.is_dir():
        raise OptcError("the output exists and is no folder", where=str(destination), hint=hint)
    entries = [entry for entry in destination.rglob("*") if not entry.is_dir() or entry.is_symlink()]
    present = {entry.relative_to(destination).as_posix() for entry in entries}
    if not present:
        return
    try:
        record = json.loads((destination / MANIFEST).read_bytes())
        listed = {MANIFEST, SIGNATURE, *record["files"]}
        is_artifact = isinstance(record["optc"], str)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_artifact = False
    if not is_artifact:
        raise OptcError("the output folder exists and is no optc artifact", where=str(destination), hint=hint)
    if foreign := sorted(present - listed):
        why = f"{foreign[0]} would be lost" + (f", and {len(foreign) - 1} more" if len(foreign) > 1 else "")
        raise OptcError("the output folder holds files beside an artifact", where=str(destination), why=why, hint=hint)


def _make_parents(folder: Path, created: list[Path]) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        created.append(parent)


def _move_into_place(source: Path, destination: Path) -> None:
    if not destination.exists():
        os.rename(source, destination)
        return
    if _exchange(source, destination):
        return  # the old folder now bears the temporary name, and goes with it
    retired = source.with_suffix(RETIRED)
    os.rename(destination, retired)
    try:
        os.rename(source, destination)
    except OSError:
        os.rename(retired, destination)
        raise
    shutil.rmtree(retired, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step (Linux: renameat2 with RENAME_EXCHANGE); False where that does not exist."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    at_cwd, rename_exchange = -100, 2
    return renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), rename_exchange) == 0


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk_errors(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        hint = "free some space" if fault.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another output folder"
        why = fault.strerror or str(fault)
        raise OptcError("the artifact cannot be written", where=str(destination), why=why, hint=hint) from fault
