"""`optc costmodel eval`: a predictor against measurements."""

from __future__ import annotations

from pathlib import Path

import click

from optc.cli.commands.costmodel.figures import HEADER, RIGHT, figure_cells
from optc.cli.commands.costmodel.files import read_rows
from optc.cli.output import emit_json, emit_table
from optc.cli.parameters import common
from optc.cli.pictures import check_picture, write_picture

_file = click.Path(path_type=Path, dir_okay=False)


@click.command("eval")
@click.option("--target", required=True, help="The device, as the data set names it.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="A CSV file (or .csv.gz) with the set's columns; for cpu_kernels a store of `collect`.",
)
@click.option("--set", "data_set", help="The data set (default: of the first predictor for the target).")
@click.option("--plot", type=_file, help="Write predicted against measured (.svg).")
@common
def command(target: str, data: Path, data_set: str | None, plot: Path | None, as_json: bool) -> None:
    """Judge the predictor for a target on the measurements of a file."""
    from optc.costmodel import kinds, predictors
    from optc.costmodel.evaluation import summary

    if plot is not None:
        check_picture(plot)
    card = predictors.find(target, data_set)
    table = read_rows(card, data)
    evaluation = kinds.load(card.kind).evaluate(card, target, table)
    content = summary(evaluation)
    if plot is not None:
        from optc.report.scatter import scatter_plot

        title = f"{target}: {content['within_10']:.1%} within ±10%, Spearman {content['spearman']:.3f}"
        write_picture(plot, scatter_plot(title, evaluation.measured, evaluation.prediction.value, evaluation.groups))
    if as_json:
        emit_json({"target": target, "set": card.data_set, "predictor": card.name, **content, "plot": plot})
        return
    row = [card.data_set, target, str(card.rows.get(target, "")), *figure_cells(content), card.date]
    emit_table(HEADER, [row], right=RIGHT)
    if len(content["by_group"]) > 1:
        emit_table(
            ["group", "rows", "median error"],
            [[name, str(item["rows"]), f"{item['median_ape']:.1f}%"] for name, item in content["by_group"].items()],
            right=(1, 2),
        )
