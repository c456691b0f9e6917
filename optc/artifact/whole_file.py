"""Text files that are whole or not there, whoever else writes them at the same time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from optc.errors import OptcError


def write_text(path: Path, text: str, what: str, *, beside: Path | None = None) -> None:
    """Write a file under another name, then move it to its place, whose folder is made if need be.

    Args:
        path: its place.
        text: its content.
        what: names the file in the message of a failure.
        beside: the file or folder next to which it is written first, on the same disk; by default `path`.

    Raises:
        OptcError: `what` cannot be written.
    """
    near, temporary = beside or path, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=near.parent, prefix=f".{near.name}.", delete=False) as file:
            temporary = file.name
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as fault:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise OptcError(f"{what} cannot be written", where=str(path), why=fault.strerror) from fault
