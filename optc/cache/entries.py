"""Entries of the cache: written whole, checked when they are read, and dated when they are used."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from optc.cache.eviction import note_written
from optc.cache.folder import cache_folder, entry_path
from optc.cache.locks import lock

_DIGEST_BYTES = hashlib.sha256().digest_size


def get(kind: str, key: str | bytes) -> bytes | None:
    """What was put under `kind` and `key`; None when there is nothing, or when the entry is damaged (it is removed)."""
    path = entry_path(kind, key)
    value = _read(path)
    if value is not None:
        with contextlib.suppress(OSError):
            os.utime(path)  # what was used last is evicted last
    return value


def put(kind: str, key: str | bytes, value: bytes) -> None:
    """Store `value`; other processes see all of it or nothing. A cache that cannot be written is no error.

    Raises:
        UsageError: `$OPTC_CACHE_MAX` is no size.
    """
    path = entry_path(kind, key)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            temporary = file.name
            file.write(hashlib.sha256(value).digest())
            file.write(value)
        os.replace(temporary, path)
    except OSError:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    note_written(len(value))


def made(kind: str, key: str | bytes, make: Callable[[], bytes]) -> bytes:
    """The entry, made and stored first where there is none; of several processes that ask for it one makes it."""
    if (value := get(kind, key)) is not None:
        return value
    with lock(f"{kind}/{key!r}"):
        value = get(kind, key)
        if value is None:
            value = make()
            put(kind, key, value)
    return value


def entries(kind: str) -> Iterator[bytes]:
    """The values of all undamaged entries of a kind, in an order that depends only on their keys."""
    for path in sorted((cache_folder() / kind).glob("??/*")):
        if not path.name.startswith(".") and (value := _read(path)) is not None:
            yield value


def _read(path: Path) -> bytes | None:
    """An undamaged entry's value; whatever else has its name, a link or a pipe, is no entry."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            stored = file.read()
    except OSError:
        return None
    digest, value = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if digest == hashlib.sha256(value).digest():
        return value
    with contextlib.suppress(OSError):
        path.unlink()
    return None
