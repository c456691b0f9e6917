"""The on-disk cache: a content-checked store of bytes under a kind and a key, shared by all processes of a user."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_DIGEST_BYTES = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """`$OPTC_CACHE_DIR`, else `$XDG_CACHE_HOME/optc`, else `~/.cache/optc`. It need not exist."""
    if chosen := os.environ.get("OPTC_CACHE_DIR"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "optc"
    return Path.home() / ".cache" / "optc"


def get(kind: str, key: str | bytes) -> bytes | None:
    """What was put under `kind` and `key`; None when there is nothing, or when the entry is damaged (it is removed)."""
    return _read(_entry(kind, key))


def entries(kind: str) -> Iterator[bytes]:
    """The values of all undamaged entries of a kind, in an order that depends only on their keys."""
    for path in sorted((cache_folder() / kind).glob("??/*")):
        if not path.name.startswith(".") and (value := _read(path)) is not None:
            yield value


def _read(path: Path) -> bytes | None:
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    digest, value = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if digest == hashlib.sha256(value).digest():
        return value
    with contextlib.suppress(OSError):
        path.unlink()
    return None


def put(kind: str, key: str | bytes, value: bytes) -> None:
    """Store `value`; other processes see all of it or nothing. A cache that cannot be written is no error."""
    path = _entry(kind, key)
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


def _entry(kind: str, key: str | bytes) -> Path:
    digest = hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()
    return cache_folder() / kind / digest[:2] / digest[2:]
