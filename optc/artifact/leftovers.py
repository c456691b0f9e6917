"""What killed writers leave beside an artifact: hidden folders that no process holds, removed by the next writer."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on this system: leftovers stay
    fcntl = None  # type: ignore[assignment]

RETIRED = ".old"
"""Of an artifact that is about to be replaced where the system cannot exchange two folders."""


_held: set[int] = set()


def held_folder(destination: Path) -> tuple[Path, int | None]:
    """Make a hidden folder beside `destination`; it is this process's until it lets the returned handle go.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        path = destination.parent / f".{destination.name}.{secrets.token_hex(4)}.partial"
        path.mkdir()
        handle = _hold(path)
        if handle is None or _is(path, handle):
            if handle is not None:
                _held.add(handle)
            return path, handle
        os.close(handle)  # another writer took it for a leftover before it was held


def let_go(handle: int) -> None:
    """Close the handle of a held folder."""
    _held.discard(handle)
    os.close(handle)


def sweep(destination: Path) -> None:
    """Remove the hidden folders of writers that were killed; an artifact that one of them had moved away comes back."""
    if fcntl is None:
        return
    pattern = re.compile(rf"\.{re.escape(destination.name)}\.[0-9a-f]{{8}}(\.partial|{re.escape(RETIRED)})")
    try:
        found = [entry for entry in destination.parent.iterdir() if pattern.fullmatch(entry.name)]
    except OSError:
        return
    for path in found:
        handle = _hold(path)
        if handle is None:
            continue
        with contextlib.suppress(OSError):
            if path.suffix == RETIRED and not os.path.lexists(destination):
                os.rename(path, destination)
            else:
                shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _hold(path: Path) -> int | None:
    """The handle of a folder that no other process holds."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _is(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _forget() -> None:
    """In a forked child: a folder is its parent's, and becomes a leftover when the parent dies."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
