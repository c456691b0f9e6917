"""What becomes of several jobs at once, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

import click

from optc.cli.output import seconds_text


class Board:
    """All jobs at once: a table that is redrawn on a terminal, a line for each finished job elsewhere."""

    def __init__(self, names: Iterable[str]) -> None:
        self._states = dict.fromkeys(names, "")
        self._starts: dict[str, float] = {}
        self._done = 0
        self._live: Any = None

    def __enter__(self) -> Board:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, name: str, text: str) -> None:
        """A job does something else now."""
        self._starts.setdefault(name, time.monotonic())
        self._states[name] = text

    def finished(self, name: str, seconds: float, *, failed: bool) -> None:
        """A job has ended."""
        self._done += 1
        self._starts.pop(name, None)
        self._states[name] = f"{'failed' if failed else 'done'} in {seconds_text(seconds)}"
        if self._live is None:
            click.echo(f"[{self._done}] {name}: {self._states[name]}", err=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, show_header=False)
        now = time.monotonic()
        for name, state in self._states.items():
            since = self._starts.get(name)
            table.add_row(name, state, "" if since is None else f"{now - since:.0f} s")
        return table
