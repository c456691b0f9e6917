"""What commands print: JSON, aligned text, and progress for what takes longer than a second."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import click

from optc.report.units import seconds_text, size_text

__all__ = ["Progress", "count_text", "emit_facts", "emit_json", "emit_table", "json_text", "seconds_text", "size_text"]

PATIENCE = 1.0
"""Seconds before progress shows at all."""


def emit_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object; numbers that JSON lacks (infinity, NaN) are null."""
    click.echo(json_text(content))


def json_text(content: Mapping[str, Any]) -> str:
    """One JSON object as text; numbers that JSON lacks are null."""
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """Nested data as JSON can hold it: NumPy scalars as numbers, unknown objects as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def emit_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print aligned `name  value` lines; further lines of a value stand below it."""
    rows = list(facts)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        first, *rest = value.split("\n")
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {first}".rstrip())
        for line in rest:
            click.echo(f"{' ' * width}  {line}")


def emit_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> None:
    """Print an aligned table; the columns numbered in `right` are flushed right."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    flushed = set(right)
    for number, row in enumerate(table):
        cells = [
            cell.rjust(widths[column]) if column in flushed else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ]
        line = "  ".join(cells).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 else line)


def count_text(count: float) -> str:
    """A count with a decimal prefix: `1.23 M`."""
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f}"


class Progress:
    """Progress on standard error: a live line on a terminal, one plain line a phase elsewhere, nothing if it is quick.

    Use it as a context manager and call it with (what, done, total, detail).
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._live: Any = None
        self._task: Any = None
        self._what = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, what: str, done: int = 0, total: int = 0, detail: str = "", /) -> None:
        if time.monotonic() - self._start < PATIENCE:
            return
        if sys.stderr.isatty():
            self._show(what, done, total, detail)
        elif what != self._what:
            click.echo(f"optc: {what}", err=True)
        self._what = what

    def _show(self, what: str, done: int, total: int, detail: str) -> None:
        if self._live is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            rest = (TimeElapsedColumn(), TextColumn("{task.fields[detail]}"))
            self._live = Bar(*columns, *rest, console=Console(stderr=True), transient=True)
            self._task = self._live.add_task(what, total=total or None, detail=detail)
            self._live.start()
        self._live.update(self._task, description=what, completed=done, total=total or None, detail=detail)
