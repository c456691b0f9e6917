"""Schedules in one portable file: written from the database of one machine, merged into that of another."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optc.backends.tvm import templates as _templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.tuning import database, records
from optc.backends.tvm.tuning.hardware import hardware_of, hardware_text
from optc.backends.tvm.tuning.records import Record, RecordFault
from optc.backends.tvm.workload import code_version, digest
from optc.errors import OptcError
from optc.targets.target import Target
from optc.version import __version__

FORMAT = "optc schedules"
VERSION = 1
MOST_BYTES = 64 << 20
_FIELDS = ("format", "version", "optc", "code", "hardware", "schedules")


@dataclass(frozen=True)
class Merged:
    """How many schedules a file brought: all, those taken over, and those that the database knew as well or better."""

    schedules: int
    taken: int
    kept: int


def write_schedules(path: Path, target: Target) -> int:
    """Write all schedules of the target's hardware into a file, whole or not at all; returns how many.

    The same schedules give the same bytes.

    Raises:
        OptcError: there are none, or the file cannot be written.
    """
    found = sorted((records.encode(record) for record in database.stored(target)), key=lambda each: json.dumps(each))
    if not found:
        raise OptcError(
            "there are no schedules to export",
            why="the cache holds none for this machine and this build of optc",
            hint="compile a model, or run optc tune MODEL, first",
        )
    content = {
        "format": FORMAT,
        "version": VERSION,
        "optc": __version__,
        "code": code_version(),
        "hardware": hardware_of(target),
        "schedules": found,
    }
    _write(path, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    return len(found)


def _write(path: Path, content: bytes) -> None:
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as fault:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        why = fault.strerror or str(fault)
        raise OptcError("the schedules cannot be written", where=str(path), why=why) from fault


def read_schedules(path: Path, target: Target, *, force: bool = False) -> Merged:
    """Merge a file into the database.

    Args:
        path: what `write_schedules` wrote.
        target: this machine.
        force: take schedules of other hardware too; their times are dropped, so that they are measured here when there
            is a budget for it.

    Raises:
        OptcError: the file cannot be read, is damaged, or is for other code or, without `force`, other hardware. The
            database is unchanged then.
    """
    content = _content(path)
    if content["code"] != code_version():
        made_by, this = (f"optc {name!s:.20} (build {code!s:.12})" for name, code in _builds(content))
        raise OptcError(
            "the schedules are for another build of optc",
            where=str(path),
            why=f"they were made by {made_by}; this is {this}",
            hint="export them again with this build",
        )
    found = _records(content, path)
    theirs, ours = content["hardware"], hardware_of(target)
    foreign = theirs != ours
    if foreign and not force:
        raise OptcError(
            "the schedules were measured on other hardware",
            where=str(path),
            why=f"they are for {hardware_text(theirs)}; this machine is {hardware_text(ours)}",
            hint="--force takes them as guesses, to be measured here",
        )
    if foreign:
        found = [replace(record, hardware=digest(ours), decision=record.decision.as_foreign()) for record in found]
    taken = sum(database.merge(record) for record in found)
    return Merged(len(found), taken, len(found) - taken)


def _content(path: Path) -> Mapping[str, Any]:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise _damaged(path, f"it has {size} bytes, more than the {MOST_BYTES} that such a file may have")
        data = path.read_bytes()
    except OSError as fault:
        why = fault.strerror or str(fault)
        raise OptcError("the schedule file cannot be read", where=str(path), why=why) from fault
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise _damaged(path, f"it is no JSON: {fault}") from fault
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        hint = "give a file that optc tune export wrote"
        raise OptcError("the file holds no schedules of optc", where=str(path), hint=hint)
    if content.get("version") != VERSION:
        raise OptcError(
            "the schedule file has another version",
            where=str(path),
            why=f"it has version {content.get('version')!r:.20}, and this optc reads version {VERSION}",
            hint="export it again with this version of optc",
        )
    if sorted(content) != sorted(_FIELDS):
        raise _damaged(path, f"it does not have the fields {', '.join(_FIELDS)}")
    return content


def _builds(content: Mapping[str, Any]) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return (content["optc"], content["code"]), (__version__, code_version())


def _records(content: Mapping[str, Any], path: Path) -> list[Record]:
    """The schedules of a file, each checked. Raises OptcError."""
    schedules, hardware = content["schedules"], content["hardware"]
    _check_hardware(hardware, path)
    if not isinstance(schedules, list):
        raise _damaged(path, "'schedules' is no list")
    found: dict[str, Record] = {}
    for number, each in enumerate(schedules):
        try:
            record = records.decode(each)
        except RecordFault as fault:
            raise _damaged(path, f"schedule {number}: {fault}") from fault
        if (record.hardware, record.code) != (digest(hardware), content["code"]):
            raise _damaged(path, f"schedule {number} is for other hardware or code than the file")
        if record.key in found:
            raise _damaged(path, f"schedule {number} is there twice")
        found[record.key] = record
    return list(found.values())


def _check_hardware(hardware: Any, path: Path) -> None:
    fine = (
        isinstance(hardware, dict)
        and sorted(hardware) == ["caches", "llvm", "vector_bytes", "vector_registers"]
        and isinstance(hardware["llvm"], dict)
        and all(isinstance(word, str) for word in hardware["llvm"].values())
        and type(hardware["vector_bytes"]) is int
        and type(hardware["vector_registers"]) is int
        and isinstance(hardware["caches"], list)
        and all(
            isinstance(level, list) and len(level) == 2 and type(level[0]) is int and isinstance(level[1], bool)
            for level in hardware["caches"]
        )
    )
    if not fine:
        raise _damaged(path, "'hardware' does not describe a processor")


def _damaged(path: Path, why: str) -> OptcError:
    return OptcError("the schedule file is damaged", where=str(path), why=why, hint="copy or export it again")
