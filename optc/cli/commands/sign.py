"""`optc sign`: sign an artifact, or make the key for it."""

from __future__ import annotations

from pathlib import Path

import click

from optc.cli.output import emit_json
from optc.cli.parameters import common
from optc.errors import UsageError

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("sign")
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option("--key", type=_FILE, help="The private key.")
@click.option("--generate", type=_FILE, metavar="KEY", help="Make a new key and write KEY and KEY.pub.")
@common
def command(artifact: Path | None, key: Path | None, generate: Path | None, as_json: bool) -> None:
    """Sign ARTIFACT with Ed25519; optc verify-signature finds every change that is made afterwards."""
    from optc.artifact import signing

    if (generate is None) == (artifact is None) or (artifact is not None and key is None):
        raise UsageError("sign what, with which key?", hint="optc sign ARTIFACT --key KEY, or optc sign --generate KEY")
    if generate is not None:
        made = signing.generate_key(generate)
        text = f"the private key is {generate}, the public one {made}"
    else:
        assert artifact is not None and key is not None
        made = signing.sign(artifact, key)
        text = f"the signature is {made}"
    if as_json:
        emit_json({"written": str(made)})
    else:
        click.echo(text)
