"""Notes on an expression while it is built: where it reads memory and on what it branches.

An emitter builds an expression once with these notes on, to choose loop order, vector axis and where to cut loops, and
then again for real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr


@dataclass
class Record:
    """The flat element offset of each read, with the bytes of one element, and each condition of a branch."""

    reads: list[tuple[PrimExpr, int]] = field(default_factory=list)
    conditions: list[PrimExpr] = field(default_factory=list)
    analyzer: Any = None  # TVM's, which knows the ranges of the loop variables


_RECORD: ContextVar[Record | None] = ContextVar("record", default=None)


@contextmanager
def recording(analyzer: Any = None) -> Iterator[Record]:
    """Notes what is built inside."""
    token = _RECORD.set(Record(analyzer=analyzer))
    try:
        record = _RECORD.get()
        assert record is not None
        yield record
    finally:
        _RECORD.reset(token)


def note_read(offset: PrimExpr, item_bytes: int) -> None:
    """Called by whoever reads a buffer."""
    record = _RECORD.get()
    if record is not None:
        record.reads.append((offset, item_bytes))


Fetch = Callable[["Buffer", "PrimExpr"], "PrimExpr"]
_FETCH: ContextVar[Fetch | None] = ContextVar("fetch", default=None)


@contextmanager
def fetching(fetch: Fetch) -> Iterator[None]:
    """Reads of buffers built inside are what `fetch(buffer, offset)` makes of them."""
    token = _FETCH.set(fetch)
    try:
        yield
    finally:
        _FETCH.reset(token)


def read(buffer: Buffer, offset: PrimExpr, item_bytes: int) -> PrimExpr:
    """An element of a flat buffer."""
    note_read(offset, item_bytes)
    fetch = _FETCH.get()
    return buffer[offset] if fetch is None else fetch(buffer, offset)


def note_condition(condition: PrimExpr) -> None:
    """Called by whoever branches."""
    record = _RECORD.get()
    if record is not None:
        record.conditions.append(condition)


def current_analyzer() -> Any:
    """The analyzer of the notes being taken; None when none are."""
    record = _RECORD.get()
    return None if record is None else record.analyzer
