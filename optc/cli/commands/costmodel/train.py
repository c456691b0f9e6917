"""`optc costmodel train`: a training run from a configuration."""

from __future__ import annotations

from pathlib import Path

import click

from optc.cli.commands.costmodel.figures import card_rows, emit_figures
from optc.cli.output import Progress, emit_json
from optc.cli.parameters import common

_folder = click.Path(path_type=Path, file_okay=False)


@click.command("train")
@click.option("--config", "config_path", type=click.Path(path_type=Path), required=True, help="A TOML file.")
@click.option("--data", type=_folder, required=True, help="The folder that holds the folders of the data sets.")
@click.option("-o", "--output", type=_folder, help="Where the predictor goes (default: the user's predictors).")
@click.option("--seed", type=int, help="Of everything random (default: the configuration's).")
@click.option("--resume", is_flag=True, help="Go on where a run that was stopped got to.")
@click.option("--tensorboard", type=_folder, help="Write curves for TensorBoard into this folder.")
@common
def command(
    config_path: Path,
    data: Path,
    output: Path | None,
    seed: int | None,
    resume: bool,
    tensorboard: Path | None,
    as_json: bool,
) -> None:
    """Train what a configuration says, on data that never shares a class of networks with what judges it.

    Under `torchrun --nproc-per-node 2 -m optc costmodel train …` processes share the steps of neural networks.
    """
    from optc.costmodel import kinds
    from optc.costmodel.datasets import dataset
    from optc.costmodel.predictors import user_folder
    from optc.costmodel.training.config import read_config
    from optc.costmodel.training.run import Run
    from optc.costmodel.training.scalars import Scalars
    from optc.costmodel.training.team import joined
    from optc.errors import UsageError

    config = read_config(config_path).with_seed(seed)
    kind = kinds.load(dataset.load(config.data_set).kind)
    with joined() as team:
        if team.size > 1 and not getattr(kind, "SHARES_STEPS", False):
            raise UsageError(f"predictors of '{config.data_set}' are trained by one process", where="torchrun")
        if team.first:
            with Progress() as progress:
                cards = kind.train(Run(config, output or user_folder(), resume, progress, Scalars(tensorboard)), data)
        else:
            kind.train(Run(config, output or user_folder(), resume), data)
            return
    if as_json:
        emit_json({"predictors": [{"folder": card.folder, **card_rows(card)} for card in cards]})
        return
    for card in cards:
        emit_figures([card])
        click.echo(f"written to {card.folder}")
