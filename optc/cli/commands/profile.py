"""`optc profile`: what each step of an artifact takes, and how much of the machine it uses."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from optc.cli.arrays import input_option
from optc.cli.files import write_whole
from optc.cli.output import emit_facts, emit_json, emit_table
from optc.cli.parameters import common, threads_option
from optc.cli.pictures import check_picture, write_picture
from optc.cli.reporting import measured_profile, read_explanation, write_report

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
@click.option("--plot", type=_PATH, help="Write the waterline and efficiency-gap plots (.svg, .png).")
@click.option("--html", type=_PATH, help="Write the page of optc explain, with these measurements (.html).")
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
    if plot is not None:
        check_picture(plot)
    profile = measured_profile(artifact, inputs, threads, runs)
    from optc.report.plot import efficiency_plot
    from optc.report.trace import chrome_trace

    if trace is not None:
        write_whole(trace, chrome_trace(profile).encode(), "the trace")
    if plot is not None:
        write_picture(plot, efficiency_plot(profile))
    if html is not None:
        write_report(html, read_explanation(artifact, profile))
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
