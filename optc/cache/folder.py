"""Where the cache lies, and the path of each entry."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """`$OPTC_CACHE_DIR`, else `$XDG_CACHE_HOME/optc`, else `~/.cache/optc`. It need not exist."""
    if chosen := os.environ.get("OPTC_CACHE_DIR"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "optc"
    return Path.home() / ".cache" / "optc"


def entry_path(kind: str, key: str | bytes) -> Path:
    """The file of an entry, `KIND/XX/YYY…`."""
    digest = key_digest(key)
    return cache_folder() / kind / digest[:2] / digest[2:]


def key_digest(key: str | bytes) -> str:
    """The SHA-256 of a key, hexadecimal."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()
