"""`optc verify-signature`: whether an artifact is as somebody you trust signed it."""

from __future__ import annotations

from pathlib import Path

import click

from optc.cli.output import emit_json
from optc.cli.parameters import common


@click.command("verify-signature")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--key",
    "keys",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    required=True,
    help="A public key that you trust; repeatable.",
)
@common
def command(artifact: Path, keys: tuple[Path, ...], as_json: bool) -> None:
    """Check every file of ARTIFACT against its signature; exit code 1 where something was changed."""
    from optc.artifact.signing import verify_signature

    key = verify_signature(artifact, keys)
    if as_json:
        emit_json({"artifact": str(artifact), "key": str(key)})
    else:
        click.echo(f"{artifact} is as the owner of {key} signed it")
