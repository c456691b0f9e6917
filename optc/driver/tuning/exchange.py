"""Schedules in files, which carry them from one machine to another."""

from __future__ import annotations

from pathlib import Path

from optc import targets
from optc.targets.library import HOST


def export_schedules(path: Path) -> int:
    """Write this machine's schedules into a file; returns how many. Raises OptcError."""
    from optc.backends.tvm.tuning.exchange import write_schedules

    return write_schedules(path, targets.load(HOST))


def import_schedules(path: Path, *, force: bool = False) -> tuple[int, int]:
    """Merge a file of schedules into this machine's; returns how many it holds, and how many were taken.

    Raises:
        OptcError: the file is damaged, or for other code or, without `force`, other hardware.
    """
    from optc.backends.tvm.tuning.exchange import read_schedules

    merged = read_schedules(path, targets.load(HOST), force=force)
    return merged.schedules, merged.taken
