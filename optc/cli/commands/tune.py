"""`optc tune`: measure schedules, and carry them from one machine to another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.board import Board
from optc.cli.clusters import check_workers, ray_option, workers_option
from optc.cli.failures import render
from optc.cli.output import Progress, emit_facts, emit_json, emit_table, seconds_text
from optc.cli.parameters import common, dim_option, shape_option, threads_option, unique
from optc.errors import OptcError, UsageError

if TYPE_CHECKING:
    from optc.backends.interface import Selection
    from optc.driver.tuning.planning import Unit
    from optc.driver.tuning.session import Tuned

_FILE = click.Path(path_type=Path, dir_okay=False)
_MODEL = "model"


class _Group(click.Group):
    """`export`, `import`, or a model: what is no command's name goes to the command that tunes a model."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            args = ctx.help_option_names[:1]
        elif args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_MODEL, *args]
        return super().parse_args(ctx, args)


@click.group("tune", cls=_Group, subcommand_metavar="MODELS|export|import ...")
def command() -> None:
    """Measure schedules on this machine, and keep them for compiles.

    \b
    optc tune MODEL --budget 60s      measure schedules for MODEL (optc tune model --help)
    optc tune A.onnx B.onnx --ray     measure for several models, on the machines of a Ray cluster
    optc tune export FILE             write all schedules of this machine into FILE
    optc tune import FILE             take over the schedules in FILE
    """


@command.command(_MODEL, hidden=True)
@click.argument("models", nargs=-1)
@click.option("--target", "targets", multiple=True, help="A processor to measure for (default: cpu); repeatable.")
@click.option(
    "--file", "project_file", type=_FILE, help="Tune the models of a project file; MODELS names some of them."
)
@click.option("--budget", default="60s", show_default=True, help="Time for measuring, in all: 30s, 5m.")
@shape_option
@dim_option
@threads_option
@ray_option
@workers_option
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Show N kernels.")
@common
def tune_models(
    models: tuple[str, ...],
    targets: tuple[str, ...],
    project_file: Path | None,
    budget: str,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    threads: int | None,
    address: str | None,
    workers: int | None,
    top: int,
    as_json: bool,
) -> None:
    """Measure schedules for the kernels of MODELS (.onnx or .pt2), those first that they spend most time in.

    What an earlier tuning or compile measured is not measured again, whatever model it was for: a tuning that was
    stopped goes on where it was.
    """
    check_workers(address, workers)
    if project_file is not None:
        if shapes or dims or threads:
            raise UsageError("--file excludes --shape, --dim and --threads", hint="the project file says them")
        units = _project_units(project_file, models, targets)
    else:
        given = {"shapes": unique(shapes, "--shape"), "dims": unique(dims, "--dim"), "threads": threads}
        units = _units(models, targets or ("cpu",), given)
    if address is None and len(units) == 1:
        from optc.driver.tuning.session import tune_unit

        with Progress() as progress:
            found: list[Tuned | OptcError] = [tune_unit(units[0], budget, progress)]
    else:
        found = _together(units, budget, address, workers)
    _show(units, found, top, as_json)
    faults = [(unit.name, each) for unit, each in zip(units, found, strict=True) if isinstance(each, OptcError)]
    for name, fault in faults:
        click.echo(f"\n{name} is not tuned:\n{render(fault)}", err=True)
    if faults:
        raise SystemExit(faults[0][1].exit_code)


def _units(models: Sequence[str], targets: Sequence[str], given: dict[str, Any]) -> list[Unit]:
    from optc.driver.tuning.planning import Unit

    if not models:
        raise UsageError("missing argument 'MODEL'", where="optc tune", hint="optc tune --help")
    words = list(dict.fromkeys(models)), list(dict.fromkeys(targets))
    return [Unit(model, target, f"{model} for {target}", **given) for model in words[0] for target in words[1]]


def _project_units(file: Path, models: Sequence[str], targets: Sequence[str]) -> list[Unit]:
    """Those of a project file, with what it tells their compiles."""
    from optc.cli.commands.compile import command as compile_command
    from optc.driver.project.building import selected
    from optc.driver.project.config import read_project
    from optc.driver.tuning.planning import Unit

    project = read_project(file)
    chosen = [unit for target in targets or (None,) for unit in selected(project, models, target)]
    units = []
    for each in chosen:
        given = compile_command.make_context("compile", [str(each.file), *each.options]).params
        units.append(
            Unit(
                str(each.file),
                each.target,
                each.name,
                shapes=unique(given["shapes"], "--shape"),
                dims=unique(given["dims"], "--dim"),
                **{name: given[name] for name in ("threads", "cost_model", "passes")},
            )
        )
    return units


def _together(units: Sequence[Unit], budget: str, address: str | None, workers: int | None) -> list[Tuned | OptcError]:
    """Tune several models, on a cluster where there is an address, on one board."""
    from optc.driver.tuning.session import Measure, tune_all

    measure: Measure | None = None
    if address is not None:
        from optc.driver.tuning.spreading import measure_on_ray

        measure = partial(measure_on_ray, address=address, workers=workers)
    start = time.monotonic()
    with Board(unit.name for unit in units) as board:
        found = tune_all(units, budget=budget, measure=measure, phase=board.phase)
        for unit, each in zip(units, found, strict=True):
            board.finished(unit.name, time.monotonic() - start, failed=isinstance(each, OptcError))
    return found


def _show(units: Sequence[Unit], found: Sequence[Tuned | OptcError], top: int, as_json: bool) -> None:
    fine = [(unit, each) for unit, each in zip(units, found, strict=True) if not isinstance(each, OptcError)]
    if as_json:
        records = [_record(each) for _, each in fine]
        emit_json(records[0] if len(units) == 1 and records else {"models": records})
        return
    if len(units) == 1:
        for _, tuned in fine:
            kernels = [_row(each.nodes, each.calls, each.selection) for each in tuned.kernels[:top]]
            header = ("kernel", "calls", "template", "predicted best", "chosen", "basis")
            emit_table(header, kernels, right=(1, 3, 4))
            click.echo()
            emit_facts(_summary(tuned))
        return
    rows = [
        [unit.name, str(len(each.kernels)), str(each.timed), *map(seconds_text, (each.untuned_seconds, each.seconds))]
        for unit, each in fine
    ]
    emit_table(("model", "kernels", "measured", "predicted best", "chosen"), rows, right=(1, 2, 3, 4))


def _row(nodes: tuple[str, ...], calls: int, selection: Selection) -> list[str]:
    from optc.report.table import shorten

    untuned, chosen = selection.untuned.seconds, selection.chosen.seconds
    label = shorten(", ".join(nodes), 40)
    return [label, str(calls), selection.chosen.template, seconds_text(untuned), seconds_text(chosen), selection.reason]


def _summary(tuned: Tuned) -> list[tuple[str, str]]:
    return [
        ("model", tuned.name),
        ("kernels", f"{len(tuned.kernels)} distinct, {tuned.timed} of them measured"),
        ("one core", f"{seconds_text(tuned.untuned_seconds)} → {seconds_text(tuned.seconds)}"),
    ]


def _record(tuned: Tuned) -> dict[str, Any]:
    import dataclasses

    return {
        "model": tuned.name,
        "target": tuned.target,
        "untuned_seconds": tuned.untuned_seconds,
        "seconds": tuned.seconds,
        "kernels": [dataclasses.asdict(each) for each in tuned.kernels],
    }


@command.command("export")
@click.argument("file", type=_FILE)
@common
def export_command(file: Path, as_json: bool) -> None:
    """Write all schedules of this machine into FILE, which optc tune import reads on another one."""
    from optc.driver.tuning.exchange import export_schedules

    count = export_schedules(file)
    if as_json:
        emit_json({"file": str(file), "schedules": count})
    else:
        click.echo(f"{count} schedules written to {file}")


@command.command("import")
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Take schedules of other hardware too, as guesses to be measured here.")
@common
def import_command(file: Path, force: bool, as_json: bool) -> None:
    """Merge the schedules in FILE into those of this machine; what is measured here is never replaced."""
    from optc.driver.tuning.exchange import import_schedules

    count, taken = import_schedules(file, force=force)
    if as_json:
        emit_json({"file": str(file), "schedules": count, "taken": taken, "known": count - taken})
    else:
        click.echo(f"{taken} of {count} schedules taken from {file}, {count - taken} were known")
