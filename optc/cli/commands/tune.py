"""`optc tune`: measure schedules, and carry them from one machine to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.output import Progress, emit_facts, emit_json, emit_table, seconds_text
from optc.cli.parameters import common, dim_option, shape_option, threads_option, unique

if TYPE_CHECKING:
    from optc.backends.interface import Selection
    from optc.driver.tuning import Tuned

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


@click.group("tune", cls=_Group, subcommand_metavar="MODEL|export|import ...")
def command() -> None:
    """Measure schedules on this machine, and keep them for compiles.

    \b
    optc tune MODEL --budget 60s   measure schedules for MODEL (optc tune model --help)
    optc tune export FILE          write all schedules of this machine into FILE
    optc tune import FILE          take over the schedules in FILE
    """


@command.command(_MODEL, hidden=True)
@click.argument("model")
@click.option("--budget", default="60s", show_default=True, help="Time for measuring: 30s, 5m.")
@shape_option
@dim_option
@threads_option
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Show N kernels.")
@common
def tune_model(
    model: str,
    budget: str,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    threads: int | None,
    top: int,
    as_json: bool,
) -> None:
    """Measure schedules for the kernels of MODEL (.onnx or .pt2), those first that it spends most time in.

    What an earlier tuning or compile measured is not measured again, whatever model it was for.
    """
    from optc.driver.tuning import tune

    with Progress() as progress:
        tuned = tune(
            model,
            budget=budget,
            shapes=unique(shapes, "--shape"),
            dims=unique(dims, "--dim"),
            threads=threads,
            progress=progress,
        )
    if as_json:
        emit_json(_record(tuned))
        return
    header = ("kernel", "calls", "template", "predicted best", "chosen", "basis")
    emit_table(header, [_row(each.nodes, each.calls, each.selection) for each in tuned.kernels[:top]], right=(1, 3, 4))
    click.echo()
    emit_facts(_summary(tuned))


def _row(nodes: tuple[str, ...], calls: int, selection: Selection) -> list[str]:
    from optc.report.table import shorten

    untuned, chosen = selection.untuned.seconds, selection.chosen.seconds
    label = shorten(", ".join(nodes), 40)
    return [label, str(calls), selection.chosen.template, seconds_text(untuned), seconds_text(chosen), selection.reason]


def _summary(tuned: Tuned) -> list[tuple[str, str]]:
    timed = sum(each.selection.chosen.measured is not None for each in tuned.kernels)
    return [
        ("model", tuned.name),
        ("kernels", f"{len(tuned.kernels)} distinct, {timed} of them measured"),
        ("one core", f"{seconds_text(tuned.untuned_seconds)} → {seconds_text(tuned.seconds)}"),
    ]


def _record(tuned: Tuned) -> dict[str, Any]:
    import dataclasses

    return {
        "model": tuned.name,
        "untuned_seconds": tuned.untuned_seconds,
        "seconds": tuned.seconds,
        "kernels": [dataclasses.asdict(each) for each in tuned.kernels],
    }


@command.command("export")
@click.argument("file", type=_FILE)
@common
def export_command(file: Path, as_json: bool) -> None:
    """Write all schedules of this machine into FILE, which optc tune import reads on another one."""
    from optc.driver.tuning import export_schedules

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
    from optc.driver.tuning import import_schedules

    count, taken = import_schedules(file, force=force)
    if as_json:
        emit_json({"file": str(file), "schedules": count, "taken": taken, "known": count - taken})
    else:
        click.echo(f"{taken} of {count} schedules taken from {file}, {count - taken} were known")
