"""A command group whose commands are imported when they run, not when help lists them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from optc.errors import UsageError
from optc.ir.source import near


class LazyGroup(click.Group):
    """A group over the files of a package; each file defines `command`.

    Args:
        catalog: command → what help says of it, in help's order.
        package: where the files lie.
        attributes: click's own.
    """

    def __init__(self, *, catalog: Mapping[str, str], package: str, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.catalog = catalog
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.catalog)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.catalog:
            hint = near(cmd_name, self.catalog) or f"{ctx.command_path} --help lists the commands"
            raise UsageError(f"no command is called '{cmd_name}'", hint=hint)
        return import_module(f"{self.package}.{cmd_name.replace('-', '_')}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.catalog.items()))
