"""`optc costmodel`: one file a subcommand; each defines `command`."""

from __future__ import annotations

import click

from optc.cli.lazy import LazyGroup

COMMANDS: dict[str, str] = {
    "list": "List the predictors with their held-out figures, data and date.",
    "train": "Train predictors on public or own measurements.",
    "sweep": "Train many combinations of options and compare them.",
    "eval": "Judge a predictor on measurements.",
    "predict": "Predict the latency of a model, or of the architectures of a CSV file.",
    "suggest": "Choose the architectures to measure on a new device.",
    "adapt": "Make a predictor for a new device from a few measurements.",
    "export": "Write a predictor as an ONNX model.",
    "collect": "Measure kernels of this machine, for predictors to be trained on.",
}


@click.group(
    "costmodel",
    cls=LazyGroup,
    catalog=COMMANDS,
    package=__name__,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Train, judge, list and use learned predictors of latency."""
