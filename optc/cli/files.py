"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
from pathlib import Path

from optc.errors import OptcError


def write_whole(path: Path, content: bytes, what: str) -> None:
    """Write a file beside its place, then move it there.

    Raises:
        OptcError: `what` cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as fault:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OptcError(f"{what} cannot be written", where=str(path), why=fault.strerror) from fault
