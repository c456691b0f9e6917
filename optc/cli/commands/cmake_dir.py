"""`optc cmake-dir`: where CMake finds optc."""

from __future__ import annotations

from pathlib import Path

import click

import optc


@click.command("cmake-dir")
def command() -> None:
    """Print the folder for cmake -Doptc_DIR, which holds optc_add_model."""
    click.echo(str(Path(optc.__file__).parent / "cmake"))
