"""How large the cache is, and what goes when it is larger than it may be: what was used longest ago."""

from __future__ import annotations

import contextlib
import os
import random
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optc.cache.folder import cache_folder
from optc.cache.locks import lock
from optc.sizes import parse_size

LIMIT_VARIABLE = "OPTC_CACHE_MAX"
DEFAULT_LIMIT = "5G"

MEASURED = frozenset({"schedules", "races", "measured"})
"""Kinds that took the user's time to measure and are small: they go only when nothing else is left."""

_HYSTERESIS = 0.9
"""Of the limit is left after an eviction, so that the next entry does not cause another one."""

_STALE_SECONDS = 3600.0
"""After so long an unfinished file is taken to be of a process that was killed."""


@dataclass(frozen=True)
class Entry:
    """A file of the cache: its kind, size in bytes, and the time of its last use in seconds."""

    path: Path
    kind: str
    bytes: int
    used: float


@dataclass(frozen=True)
class Freed:
    """What an eviction removed, and the bytes that are left."""

    entries: int
    bytes: int
    left: int


def limit() -> int:
    """The bytes that the cache may have: `$OPTC_CACHE_MAX`, else 5 GiB; 0 for any number.

    Raises:
        UsageError: the variable is no size.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip() or DEFAULT_LIMIT
    found = parse_size(text, where=f"environment variable {LIMIT_VARIABLE}")
    assert found is not None
    return found


def listed() -> list[Entry]:
    """All entries, those that are used longest ago first."""
    found = [each for each in _files() if not each.path.name.startswith(".")]
    return sorted(found, key=lambda each: (each.used, str(each.path)))


def prune(most: int) -> Freed:
    """Remove what was used longest ago until the entries have at most so many bytes, and what killed processes left."""
    files = list(_files())
    past = time.time() - _STALE_SECONDS
    for each in files:
        if each.path.name.startswith(".") and each.used < past:
            _remove(each.path)
    found = [each for each in files if not each.path.name.startswith(".")]
    total = sum(each.bytes for each in found)
    entries = freed = 0
    for each in sorted(found, key=lambda each: (each.kind in MEASURED, each.used, str(each.path))):
        if total - freed <= most:
            break
        if _remove(each.path):
            entries += 1
            freed += each.bytes
    return Freed(entries, freed, total - freed)


def clear(kinds: list[str] | None = None) -> Freed:
    """Remove all entries, or those of some kinds. What is no entry, such as trained predictors, stays."""
    found = listed()
    gone = [each for each in found if kinds is None or each.kind in kinds]
    removed = [each.bytes for each in gone if _remove(each.path)]
    return Freed(len(removed), sum(removed), sum(each.bytes for each in found) - sum(removed))


def note_written(size: int) -> None:
    """Called after every write: now and then, on average once in a 32nd of the limit, the limit is enforced.

    Raises:
        UsageError: `$OPTC_CACHE_MAX` is no size.
    """
    most = limit()
    if most and _CHANCE.random() * most < 32 * size:
        with lock("evicting", wait=False) as mine:
            if mine and sum(each.bytes for each in _files()) > most:
                prune(int(_HYSTERESIS * most))


_CHANCE = random.SystemRandom()
_NAME = re.compile(r"[0-9a-f]{62}|\..*")


def _files() -> Iterator[Entry]:
    """Regular files that lie where entries lie, unfinished ones included."""
    for path in cache_folder().glob("*/??/*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if _NAME.fullmatch(path.name) and stat.S_ISREG(status.st_mode):
                yield Entry(path, path.parts[-3], status.st_size, status.st_mtime)


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
