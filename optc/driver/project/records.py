"""What a build remembers: `.optc-build.json` says which artifacts are fresh, `optc.lock` what they were made from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optc.artifact.whole_file import write_text
from optc.driver.project.inputs import Inputs
from optc.errors import OptcError

STATE = ".optc-build.json"
LOCK = "optc.lock"
LOCK_SCHEMA = 1


@dataclass
class State:
    """For each unit the digest of the inputs of its artifact, and that of the artifact."""

    path: Path
    units: dict[str, tuple[str, str]] = field(default_factory=dict)

    @staticmethod
    def read(output: Path) -> State:
        """What an earlier build left; nothing where that cannot be understood."""
        state = State(output / STATE)
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
            for name, (inputs, artifact) in json.loads(state.path.read_bytes()).items():
                if isinstance(inputs, str) and isinstance(artifact, str):
                    state.units[name] = (inputs, artifact)
        return state

    def note(self, name: str, inputs: str, artifact: str) -> None:
        """Remember a finished unit at once, so that a build that is killed later goes on behind it."""
        self.units[name] = (inputs, artifact)
        write_json(self.path, {key: list(value) for key, value in self.units.items()})


def lock_record(tools: Mapping[str, str], units: Mapping[str, tuple[Inputs, str | None]]) -> dict[str, Any]:
    """The content of optc.lock: versions, and per unit its files, options, target and, where it repeats, its artifact.

    Args:
        tools: versions by name.
        units: by name; without the artifact's digest where schedules were measured, which no other machine repeats.
    """
    described = {
        name: {
            "files": inputs.files,
            "options": list(inputs.options),
            "target": inputs.target,
            **({} if artifact is None else {"artifact": artifact}),
        }
        for name, (inputs, artifact) in units.items()
    }
    return {"schema": LOCK_SCHEMA, "tools": dict(tools), "units": described}


def read_lock(path: Path) -> dict[str, Any]:
    """The content of a lock file. Raises OptcError when there is none or it is damaged."""
    try:
        record = json.loads(path.read_bytes())
    except OSError as fault:
        hint = "run optc build once without --locked"
        raise OptcError("the lock file cannot be read", where=str(path), why=fault.strerror, hint=hint) from fault
    except (ValueError, RecursionError) as fault:
        raise OptcError("the lock file is damaged", where=str(path), why=str(fault)) from fault
    fits = isinstance(record, dict) and record.get("schema") == LOCK_SCHEMA
    if not fits or not all(isinstance(record.get(key), dict) for key in ("tools", "units")):
        raise OptcError("the lock file is damaged", where=str(path), why=f"it is no lock of schema {LOCK_SCHEMA}")
    return record


def differences(locked: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """In what two lock records differ, one line each.

    Artifacts are compared where both records have one, made for the same target; of `cpu` that is the same hardware.
    """
    lines = _changes("", locked["tools"], found["tools"])
    for name in sorted({*locked["units"], *found["units"]}):
        before, now = locked["units"].get(name), found["units"].get(name)
        if not isinstance(before, dict) or now is None:
            lines.append(f"{name}: {'not in the lock' if now is not None else 'not in the project'}")
            continue
        lines += _changes(f"{name}: ", before.get("files", {}), now["files"])
        if before.get("options") != now["options"]:
            lines.append(f"{name}: options {before.get('options')} in the lock, {now['options']} here")
        if before.get("target") != now["target"]:
            continue
        artifacts = before.get("artifact"), now.get("artifact")
        if None not in artifacts and artifacts[0] != artifacts[1]:
            lines.append(f"{name}: the artifact is {artifacts[0]} in the lock, {artifacts[1]} here")
    return lines


def _changes(place: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{place}{key}: {before.get(key, 'nothing')} in the lock, {now.get(key, 'nothing')} here"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file as a whole. Raises OptcError."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n", "the file")
