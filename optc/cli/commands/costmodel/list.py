"""`optc costmodel list`: which predictors there are, and how good each is."""

from __future__ import annotations

import click

from optc.cli.commands.costmodel.figures import card_rows, emit_figures
from optc.cli.output import emit_json
from optc.cli.parameters import common


@click.command("list")
@click.option("--set", "data_set", help="Only the predictors of this data set.")
@click.option("--target", help="Only the predictors for this target.")
@common
def command(data_set: str | None, target: str | None, as_json: bool) -> None:
    """List every predictor with the figures it reached on measurements that it was not trained on."""
    from optc.costmodel import predictors

    found = [
        card
        for card in predictors.cards()
        if (data_set or card.data_set) == card.data_set and (target is None or target in card.targets)
    ]
    if as_json:
        emit_json({"predictors": [card_rows(card) for card in found]})
        return
    emit_figures(found, target)
    for card in found:
        click.echo(f"\n{card.data_set}: {card.source} ({card.licence})\n  {card.split}")
