"""`optc costmodel adapt`: a predictor for a new device from a few measurements."""

from __future__ import annotations

from pathlib import Path

import click

from optc.cli.commands.costmodel.figures import card_rows
from optc.cli.output import emit_facts, emit_json
from optc.cli.parameters import common

_file = click.Path(path_type=Path, dir_okay=False)


@click.command("adapt")
@click.option("--target", required=True, help="The name of the new device.")
@click.option("--set", "data_set", required=True, help="The data set whose architectures were measured.")
@click.option("--samples", type=_file, required=True, help="A CSV file: the set's id column and latency_ms.")
@click.option("--reference", "references", multiple=True, help="Learn from this device only; repeatable.")
@common
def command(target: str, data_set: str, samples: Path, references: tuple[str, ...], as_json: bool) -> None:
    """Make a predictor for a new device from about ten measurements; `predict --target` knows it afterwards."""
    from optc.costmodel import kinds
    from optc.costmodel.datasets import dataset
    from optc.costmodel.datasets.table import read_table
    from optc.costmodel.predictors import user_folder
    from optc.errors import UsageError

    source = dataset.load(data_set)
    kind = kinds.load(source.kind)
    if not hasattr(kind, "adapt"):
        raise UsageError(f"predictors of '{data_set}' cannot be adapted", where="--set")
    card = kind.adapt(source, target, read_table(samples), references, user_folder())
    if as_json:
        emit_json({"folder": card.folder, **card_rows(card)})
        return
    figures = card.figures[target]
    emit_facts(
        [
            ("target", f"{target}, from {card.rows[target]} measurements"),
            ("executes", card.details["styles"][target]),
            ("fit", f"the measurements themselves within {figures['median_ape']:.1f}% (median)"),
            ("written to", str(card.folder)),
        ]
    )
