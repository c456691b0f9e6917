"""How much a model may lose: the options of the commands that search for the best model within a bound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from optc.cli.parameters import Number
from optc.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--max-drop", help="Accuracy that may be lost, such as 0.5%; needs --labels."),
    click.option(
        "--labels",
        type=click.Path(path_type=Path),
        help="The right class of each sample: .npy, .npz or text.",
    ),
    click.option("--evaluate", help="The samples that --labels belongs to (default: those of --calib)."),
    click.option(
        "--confidence",
        type=Number(0.5, 0.9999),
        default=0.995,
        show_default=True,
        help="That other samples show no larger drop than --max-drop.",
    ),
)


def accuracy_options(command: Command) -> Command:
    """Give a command --max-drop and what belongs to it."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_bound(max_drop: str | None, labels: Path | None, min_snr: float | None) -> None:
    """Refuse a drop that nothing is judged on, and two bounds.

    Raises:
        UsageError: it is so.
    """
    if max_drop is not None and (labels is None or min_snr is not None):
        raise UsageError("--max-drop needs --labels, and excludes --min-snr")
