"""Locks between processes that share a cache, so that no work is done twice; they end with their process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from optc.cache.folder import cache_folder, key_digest

try:
    import fcntl
except ImportError:  # no such locks on this system: work may be done twice, but nothing is damaged
    fcntl = None  # type: ignore[assignment]


@dataclass
class _Held:
    handle: int
    depth: int


_held: dict[tuple[int, Path], _Held] = {}


@contextlib.contextmanager
def lock(name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a name; a thread may take it again inside.

    Where the cache cannot be written there is nothing to share, and the lock is taken to be free.

    Args:
        name: the same for all who exclude each other.
        wait: until it is free, else come back at once.

    Yields:
        whether it is held.
    """
    path = cache_folder() / "locks" / key_digest(name)
    key = (threading.get_ident(), path)
    if key in _held:
        _held[key].depth += 1
    else:
        handle = _acquire(path, wait)
        if handle is None:
            yield False
            return
        _held[key] = _Held(handle, 1)
    try:
        yield True
    finally:
        held = _held.get(key)
        if held is not None:  # else this is a forked child, which holds nothing
            held.depth -= 1
            if held.depth == 0:
                del _held[key]
                _release(path, held.handle)


@contextlib.contextmanager
def measuring(waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of those who measure times on this machine: one at a time, and none measures what another just did.

    Args:
        waiting: called first when another process measures.
    """
    with lock("measuring", wait=False) as mine:
        if mine:
            yield
            return
    waiting()
    with lock("measuring"):
        yield


_NO_LOCK = -1


def _acquire(path: Path, wait: bool) -> int | None:
    """The handle of a locked file; None where another has it."""
    if fcntl is None:
        return _NO_LOCK
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            return _NO_LOCK
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass  # its last holder removed the file meanwhile
        except OSError:
            os.close(handle)
            return _NO_LOCK
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _release(path: Path, handle: int) -> None:
    if handle == _NO_LOCK:
        return
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def _forget() -> None:
    """In a forked child: a lock is its parent's, and must end when the parent does."""
    for held in _held.values():
        if held.handle != _NO_LOCK:
            os.close(held.handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
