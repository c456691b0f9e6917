"""`optc run`: an artifact on given or random inputs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from optc.cli.arrays import input_option, read_inputs, statistics, write_arrays
from optc.cli.output import emit_json, emit_table
from optc.cli.parameters import common, threads_option
from optc.cli.split_run import SplitOptions, describe, is_split, run_split, split_options


@click.command("run")
@click.argument("artifact")
@input_option
@click.option("-o", "output", type=click.Path(path_type=Path), help="Where to write the outputs (.npz).")
@click.option("--seed", default=0, show_default=True, help="Of the random values for inputs that are not given.")
@threads_option
@split_options
@common
def command(
    artifact: str,
    inputs: tuple[str, ...],
    output: Path | None,
    seed: int,
    threads: int | None,
    split: SplitOptions,
    as_json: bool,
) -> None:
    """Run ARTIFACT once and show its outputs; inputs that are not given are random.

    Of what `optc split` wrote, a part runs here and the rest on --server; without an answer from there, all runs here.
    """
    from optc.runtime import load
    from optc.runtime.random_inputs import random_inputs

    given = read_inputs(inputs)
    report = None
    if split.server is not None or is_split(artifact):
        outputs, missing, report = run_split(artifact, given, seed, threads, split)
    else:
        with load(artifact, threads=threads) as loaded:
            infos = [info for info in loaded.inputs if info.name not in given]
            outputs = loaded.run({**given, **random_inputs(infos, seed)})
        missing = [info.name for info in infos]
    if output is not None:
        write_arrays(output, outputs)
    described = {name: statistics(array) for name, array in outputs.items()}
    if as_json:
        facts = {"outputs": described, "random_inputs": missing, "written": output}
        emit_json(facts if report is None else {**facts, "split": dataclasses.asdict(report)})
        return
    if missing:
        click.echo(f"random values for {', '.join(missing)} (seed {seed})", err=True)
    if report is not None:
        click.echo(describe(report), err=True)
    emit_table(["output", "type", "shape", "min", "mean", "max"], [_row(*item) for item in described.items()])
    if output is not None:
        click.echo(f"written to {output}")


def _row(name: str, facts: dict[str, Any]) -> list[str]:
    shape = "×".join(map(str, facts["shape"])) or "scalar"
    figures = [f"{facts[key]:.6g}" if key in facts else "" for key in ("min", "mean", "max")]
    return [name, facts["dtype"], shape, *figures]
