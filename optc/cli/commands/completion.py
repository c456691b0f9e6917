"""`optc completion`: what a shell needs to complete optc's commands and options."""

from __future__ import annotations

import click

from optc.cli.output import emit_json
from optc.cli.parameters import common


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
def command(shell: str, as_json: bool) -> None:
    """Print the completion script for SHELL.

    \b
    bash  eval "$(optc completion bash)"                         in ~/.bashrc
    zsh   eval "$(optc completion zsh)"                          in ~/.zshrc
    fish  optc completion fish > ~/.config/fish/completions/optc.fish
    """
    from click.shell_completion import get_completion_class

    from optc.cli.app import COMPLETION, cli

    made = get_completion_class(shell)
    assert made is not None
    script = made(cli, {}, "optc", COMPLETION).source()
    if as_json:
        emit_json({"shell": shell, "script": script})
    else:
        click.echo(script)
