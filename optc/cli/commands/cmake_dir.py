"""`optc cmake-dir`: where CMake finds optc."""

from __future__ import annotations

from pathlib import Path

import click

import optc
from optc.cli.output import emit_json
from optc.cli.parameters import common


@click.command("cmake-dir")
@common
def command(as_json: bool) -> None:
    """Print the folder for cmake -Doptc_DIR, which holds optc_add_model."""
    folder = str(Path(optc.__file__).parent / "cmake")
    if as_json:
        emit_json({"folder": folder})
    else:
        click.echo(folder)
