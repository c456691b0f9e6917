"""`optc costmodel suggest`: which architectures to measure on a new device."""

from __future__ import annotations

from pathlib import Path

import click

from optc.cli.output import emit_json
from optc.cli.parameters import common

_file = click.Path(path_type=Path, dir_okay=False)


@click.command("suggest")
@click.option("--target", required=True, help="The name of the new device.")
@click.option("--set", "data_set", required=True, help="The data set whose architectures are measured.")
@click.option("-n", "count", type=click.IntRange(min=1), default=10, show_default=True, help="How many.")
@click.option("--reference", "references", multiple=True, help="Learn from this device only; repeatable.")
@click.option("--arch-csv", type=_file, help="Choose among these architectures (default: the whole space).")
@click.option("-o", "output", type=_file, help="Write a CSV file with an empty latency_ms column to fill in.")
@common
def command(
    target: str,
    data_set: str,
    count: int,
    references: tuple[str, ...],
    arch_csv: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Choose the architectures whose latencies tell most about a new device; `adapt` takes the measurements."""
    from optc.cli.commands.costmodel.files import write_rows
    from optc.costmodel import kinds
    from optc.costmodel.datasets import dataset
    from optc.costmodel.datasets.table import read_table
    from optc.errors import UsageError

    source = dataset.load(data_set)
    kind = kinds.load(source.kind)
    if not hasattr(kind, "suggest"):
        raise UsageError(f"predictors of '{data_set}' cannot be adapted", where="--set")
    table = read_table(arch_csv) if arch_csv else None
    names, rows, codes = kind.suggest(source, target, count, references, table)
    texts = ["-".join(map(str, codes[row])) for row in rows]
    if output is not None:
        write_rows(output, [source.id_column, "latency_ms"], [[name, ""] for name in names])
    if as_json:
        emit_json({"target": target, "set": data_set, source.id_column: names, "codes": texts, "output": output})
        return
    for name, text in zip(names, texts, strict=True):
        click.echo(f"{name}  {text}")
