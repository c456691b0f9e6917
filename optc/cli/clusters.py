"""The options of commands that spread their work over a Ray cluster."""

from __future__ import annotations

import re
from typing import Any

import click

from optc.errors import UsageError

OWN = ""
"""What `--ray` without an address says: the cluster of $RAY_ADDRESS, else one on this machine."""


class AddressType(click.ParamType):
    """`HOST:PORT`, `ray://HOST:PORT`, `auto` or `local`."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value != OWN and not re.fullmatch(r"auto|local|(ray://)?[^\s/:]+:\d+|(ray://)?\[[0-9a-fA-F:]+\]:\d+", value):
            hint = "--ray HOST:PORT, or --ray behind all other words for the cluster of $RAY_ADDRESS or of this machine"
            raise UsageError(f"'{value}' is no address of a Ray cluster", where="--ray", hint=hint)
        return value


ray_option = click.option(
    "--ray",
    "address",
    type=AddressType(),
    is_flag=False,
    flag_value=OWN,
    metavar="[ADDRESS]",
    help="Spread the work over a Ray cluster (default: $RAY_ADDRESS, else one on this machine).",
)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Tasks at a time on the cluster (default: its CPUs)."
)


def check_workers(address: str | None, workers: int | None) -> None:
    """Raise UsageError where `--workers` comes without `--ray`."""
    if workers is not None and address is None:
        raise UsageError("--workers needs --ray")
