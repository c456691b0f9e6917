"""`optc build`: the models of a project file, on one board."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.output import emit_json, seconds_text
from optc.cli.parameters import common

if TYPE_CHECKING:
    from optc.driver.project.config import Unit
    from optc.driver.project.jobs import Outcome


@click.command("build")
@click.argument("models", nargs=-1)
@click.option("--file", "project_file", type=click.Path(path_type=Path), default="optc.toml", show_default=True)
@click.option("--target", help="Only for this target.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Compiles at a time (default: the file's, else half the CPUs)."
)
@click.option("--locked", is_flag=True, help="Refuse to build from anything else than optc.lock names.")
@click.option("--force", is_flag=True, help="Compile also what is up to date.")
@click.option("--ray", "on_ray", is_flag=True, help="Spread the compiles over a Ray cluster ($RAY_ADDRESS).")
@common
def command(
    models: tuple[str, ...],
    project_file: Path,
    target: str | None,
    jobs: int | None,
    locked: bool,
    force: bool,
    on_ray: bool,
    as_json: bool,
) -> None:
    """Compile MODELS of the project file (default: all) for their targets, those that changed.

    What is finished stays finished: a build that was stopped goes on where it was.
    """
    from optc.driver.project.building import build, selected
    from optc.driver.project.config import read_project
    from optc.driver.project.jobs import compile_all

    project = read_project(project_file)
    units = selected(project, models, target)
    runner = compile_all
    if on_ray:
        from optc.driver.project.remote import compile_on_ray

        runner = compile_on_ray
    with Board(units) as board:
        result = build(
            project,
            units,
            jobs=jobs or project.jobs or max(1, (os.cpu_count() or 1) // 2),
            locked=locked,
            force=force,
            phase=board.phase,
            finished=board.finished,
            runner=runner,
        )
    if as_json:
        fresh = [_record(unit, "up to date") for unit in result.fresh]
        emit_json({"units": [*fresh, *(_outcome_record(outcome) for outcome in result.outcomes)], "code": result.code})
    else:
        compiled = len(result.outcomes) - len(result.failures)
        click.echo(f"{compiled} compiled, {len(result.fresh)} up to date, {len(result.failures)} failed")
    for outcome in result.failures:
        click.echo(f"\n{outcome.unit.name} failed with code {outcome.code}:\n{outcome.error}", err=True)
    if result.code:
        raise SystemExit(result.code)


def _record(unit: Unit, status: str) -> dict[str, Any]:
    return {"model": unit.model, "target": unit.target, "artifact": str(unit.output), "status": status}


def _outcome_record(outcome: Outcome) -> dict[str, Any]:
    status = "failed" if outcome.code else "compiled"
    more = {"code": outcome.code, "seconds": outcome.seconds, "error": outcome.error or None}
    return {**_record(outcome.unit, status), **more}


class Board:
    """All units at once: a table that is redrawn on a terminal, a line for each finished unit elsewhere."""

    def __init__(self, units: list[Unit]) -> None:
        self._names = [unit.name for unit in units]
        self._states = dict.fromkeys(self._names, "")
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

    def phase(self, unit: Unit, text: str) -> None:
        """A compile does something else now."""
        self._starts.setdefault(unit.name, time.monotonic())
        self._states[unit.name] = text

    def finished(self, outcome: Outcome) -> None:
        """A compile has ended."""
        self._done += 1
        word = "failed" if outcome.code else "done"
        self._starts.pop(outcome.unit.name, None)
        self._states[outcome.unit.name] = f"{word} in {seconds_text(outcome.seconds)}"
        if self._live is None:
            click.echo(f"[{self._done}] {outcome.unit.name}: {self._states[outcome.unit.name]}", err=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, show_header=False)
        now = time.monotonic()
        for name in self._names:
            since = self._starts.get(name)
            table.add_row(name, self._states[name], "" if since is None else f"{now - since:.0f} s")
        return table
