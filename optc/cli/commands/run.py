"""`optc run`: an artifact on given or random inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from optc.cli.arrays import input_option, read_inputs, statistics, write_arrays
from optc.cli.output import emit_json, emit_table
from optc.cli.parameters import common, threads_option


@click.command("run")
@click.argument("artifact")
@input_option
@click.option("-o", "output", type=click.Path(path_type=Path), help="Where to write the outputs (.npz).")
@click.option("--seed", default=0, show_default=True, help="Of the random values for inputs that are not given.")
@threads_option
@common
def command(
    artifact: str, inputs: tuple[str, ...], output: Path | None, seed: int, threads: int | None, as_json: bool
) -> None:
    """Run ARTIFACT once and show its outputs; inputs that are not given are random."""
    from optc.runtime import load
    from optc.runtime.random_inputs import random_inputs

    given = read_inputs(inputs)
    with load(artifact, threads=threads) as loaded:
        missing = [info for info in loaded.inputs if info.name not in given]
        outputs = loaded.run({**given, **random_inputs(missing, seed)})
    if output is not None:
        write_arrays(output, outputs)
    described = {name: statistics(array) for name, array in outputs.items()}
    if as_json:
        emit_json({"outputs": described, "random_inputs": [info.name for info in missing], "written": output})
        return
    if missing:
        click.echo(f"random values for {', '.join(info.name for info in missing)} (seed {seed})", err=True)
    emit_table(["output", "type", "shape", "min", "mean", "max"], [_row(*item) for item in described.items()])
    if output is not None:
        click.echo(f"written to {output}")


def _row(name: str, facts: dict[str, Any]) -> list[str]:
    shape = "×".join(map(str, facts["shape"])) or "scalar"
    figures = [f"{facts[key]:.6g}" if key in facts else "" for key in ("min", "mean", "max")]
    return [name, facts["dtype"], shape, *figures]
