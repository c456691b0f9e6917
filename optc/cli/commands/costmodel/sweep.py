"""`optc costmodel sweep`: many training runs that differ in options, and which of them predicts best."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from optc.cli.commands.costmodel.figures import figure_cells
from optc.cli.output import Progress, emit_json, emit_table
from optc.cli.parameters import common
from optc.errors import UsageError

_folder = click.Path(path_type=Path, file_okay=False)


@click.command("sweep")
@click.option("--config", "config_path", type=click.Path(path_type=Path), required=True, help="A TOML file.")
@click.option("--data", type=_folder, required=True, help="The folder that holds the folders of the data sets.")
@click.option("-o", "--output", type=_folder, required=True, help="Gets the predictors of all trials.")
@click.option("--vary", multiple=True, required=True, metavar="NAME=VALUE,…", help="seed=0,1 or table.option=…")
@click.option(
    "--ray", "on_cluster", is_flag=True, help="Spread the trials over the Ray cluster of $RAY_ADDRESS, or of here."
)
@common
def command(
    config_path: Path, data: Path, output: Path, vary: tuple[str, ...], on_cluster: bool, as_json: bool
) -> None:
    """Train every combination of options, and list them by the median error on what they were not trained on."""
    from optc.costmodel.training.config import read_config
    from optc.costmodel.training.sweep import Trial, in_turn, sweep, trials
    from optc.driver.cluster import cluster, spread

    found = trials(read_config(config_path), dict(map(_choices, vary)))
    done: list[tuple[Trial, dict[str, Any], str]] = []
    with Progress() as progress, contextlib.ExitStack() as stack:
        runner = partial(spread, stack.enter_context(cluster())) if on_cluster else in_turn
        for number, (trial, cards) in enumerate(sweep(found, data, output, runner)):
            progress("training", number + 1, len(found))
            done += [(trial, card, target) for card in cards for target in card["targets"]]
    done.sort(key=lambda each: (each[2], each[1]["figures"].get(each[2], {}).get("median_ape") or 1e9, each[1]["name"]))
    if as_json:
        rows = [
            {"predictor": c["name"], "target": t, "options": dict(each.options), **c["figures"].get(t, {})}
            for each, c, t in done
        ]
        emit_json({"trials": rows})
        return
    shown = [
        [
            card["name"],
            " ".join(f"{k}={v}" for k, v in trial.options.items()),
            target,
            *figure_cells(card["figures"].get(target, {})),
        ]
        for trial, card, target in done
    ]
    header = ["predictor", "options", "target", "judged on", "MAPE", "median", "±5%", "±10%", "Spearman", "coverage"]
    emit_table(header, shown, right=range(3, 10))


def _choices(text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise UsageError(f"'{text}' names no values", where="--vary", hint="for instance --vary model.trees=100,200")
    return name, [_value(each) for each in values.split(",")]


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (bool, int, float)) else text
