"""The options that say how pictures become numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from optc.cli.parameters import Number, numbers
from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.driver.quantization.images import Preprocessing

Command = TypeVar("Command", bound=Callable[..., Any])

_SIDE = click.IntRange(min=1)
_OPTIONS = (
    click.option("--samples", type=_SIDE, help="Calibration samples to read at most."),
    click.option("--size", type=(_SIDE, _SIDE), metavar="H W", help="What images are resized to."),
    click.option("--mean", help="Subtracted from the pixels, a number for each channel: 0.485,0.456,0.406."),
    click.option("--std", help="What pixels are divided by, a number for each channel."),
    click.option(
        "--range",
        "span",
        type=(Number(), Number()),
        default=(0.0, 255.0),
        show_default=True,
        metavar="LOW HIGH",
        help="Of the pixels.",
    ),
    click.option("--layout", type=click.Choice(["nchw", "nhwc"]), default="nchw", show_default=True, help="Of images."),
)


def image_options(command: Command) -> Command:
    """Give a command --samples and the options of `preprocessing`; their values come as keywords."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def preprocessing(given: Mapping[str, Any]) -> Preprocessing:
    """What the values of the options say.

    Raises:
        UsageError: one of them is no list of numbers, or would divide by zero.
    """
    from optc.driver.quantization.images import Preprocessing

    deviation = numbers(given["std"], "--std", 1.0)
    if 0.0 in deviation:
        raise UsageError("pixels cannot be divided by 0", where="--std", hint="--std 0.5,0.5,0.5")
    mean = numbers(given["mean"], "--mean", 0.0)
    return Preprocessing(given["size"], given["layout"], given["span"], mean, deviation)
