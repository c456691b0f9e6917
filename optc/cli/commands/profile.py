"""`optc profile`: what each step of an artifact takes, and how much of the machine it uses."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.arrays import input_option, read_inputs
from optc.cli.output import Progress, emit_facts, emit_json, emit_table
from optc.cli.parameters import common, threads_option
from optc.errors import OptcError

if TYPE_CHECKING:
    from optc.report.profile import Profile
    from optc.targets.target import Target

_PATH = click.Path(path_type=Path, dir_okay=False)
_WIDTH = 140  # characters, where the output is no terminal


@click.command("profile")
@click.argument("artifact")
@input_option
@threads_option
@click.option("--runs", type=click.IntRange(min=1), help="Runs to measure (default: about 3 s of them).")
@click.option("--order", type=click.Choice(["time", "source"]), default="time", show_default=True, help="Of the rows.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Show N steps (default: all).")
@click.option("--trace", type=_PATH, help="Write a Chrome trace (.json), for chrome://tracing or Perfetto.")
@click.option("--plot", type=_PATH, help="Write the waterline and efficiency-gap plots (.svg).")
@click.option("--html", type=_PATH, help="Write a page with the plots, the steps and the plan (.html).")
@common
def command(
    artifact: str,
    inputs: tuple[str, ...],
    threads: int | None,
    runs: int | None,
    order: str,
    top: int | None,
    trace: Path | None,
    plot: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Show the time, efficiency, FLOPs and bytes of each step of ARTIFACT; inputs that are not given are random.

    Efficiency is the time that the FLOPs would take at the peak of this machine over the time that they take. The peak
    is that of `optc targets --calibrate`, or measured first (about 2 s).
    """
    profile, decisions = _measure(artifact, inputs, threads, runs)
    from optc.report.page import html_page
    from optc.report.plot import efficiency_plot
    from optc.report.trace import chrome_trace

    pages = ((trace, chrome_trace), (plot, efficiency_plot), (html, partial(html_page, decisions=decisions)))
    for path, render in pages:
        if path is not None:
            _write(path, render, profile)
    if as_json:
        emit_json({**profile.to_dict(), "trace": trace, "plot": plot, "html": html})
        return
    from optc.report.table import HEADER, RIGHT_COLUMNS, rows, summary

    width = shutil.get_terminal_size((_WIDTH, 0)).columns
    emit_table(HEADER, rows(profile, order=order, top=top, width=width), right=RIGHT_COLUMNS)
    click.echo()
    emit_facts(summary(profile))
    for path in filter(None, (trace, plot, html)):
        click.echo(f"written to {path}")


def _measure(
    artifact: str, inputs: tuple[str, ...], threads: int | None, runs: int | None
) -> tuple[Profile, Mapping[str, Any]]:
    """The profile, and what the compiler decided."""
    from optc.report.profile import measure
    from optc.runtime import load
    from optc.runtime.random_inputs import random_inputs

    given = read_inputs(inputs)
    with load(artifact, threads=threads) as loaded, Progress() as progress:
        values = {**given, **random_inputs([info for info in loaded.inputs if info.name not in given])}
        progress("measuring the peak of this machine")
        target = _this_machine()
        progress("measuring the steps")
        return measure(loaded, values, target, runs), loaded.decisions


def _this_machine() -> Target:
    """This machine, measured if that is possible; the peak's source says whether it was."""
    from optc.targets.host import host, measured_host

    try:
        return measured_host()
    except OptcError:
        return host()


def _write(path: Path, render: Callable[[Profile], str], profile: Profile) -> None:
    try:
        path.write_text(render(profile), encoding="utf-8")
    except OSError as error:
        raise OptcError("the file cannot be written", where=str(path), why=error.strerror) from error
