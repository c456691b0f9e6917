"""`optc build`: the models of a project file, on one board."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.board import Board
from optc.cli.clusters import check_workers, ray_option, workers_option
from optc.cli.output import emit_json
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
@ray_option
@workers_option
@common
def command(
    models: tuple[str, ...],
    project_file: Path,
    target: str | None,
    jobs: int | None,
    locked: bool,
    force: bool,
    address: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Compile MODELS of the project file (default: all) for their targets, those that changed.

    What is finished stays finished: a build that was stopped goes on where it was.
    """
    from optc.driver.project.building import Runner, build, selected
    from optc.driver.project.config import read_project
    from optc.driver.project.jobs import compile_all

    check_workers(address, workers)
    project = read_project(project_file)
    units = selected(project, models, target)
    runner: Runner = compile_all
    if address is not None:
        from optc.driver.project.remote import compile_on_ray

        runner = partial(compile_on_ray, address=address, workers=workers)
    with Board(unit.name for unit in units) as board:
        result = build(
            project,
            units,
            jobs=jobs or project.jobs or max(1, (os.cpu_count() or 1) // 2),
            locked=locked,
            force=force,
            phase=lambda unit, text: board.phase(unit.name, text),
            finished=lambda each: board.finished(each.unit.name, each.seconds, failed=each.code != 0),
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
