"""`optc serve-compile`: compiles for a team, over HTTP."""

from __future__ import annotations

import os
from pathlib import Path

import click

from optc.cli.parameters import common
from optc.errors import OptcError

TOKEN_VARIABLE = "OPTC_SERVICE_TOKEN"


@click.command("serve-compile")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8008, show_default=True, help="0 for any free one.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default="optc-service", show_default=True)
@click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help=f"Else ${TOKEN_VARIABLE}.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Compiles at a time.")
@click.option(
    "--queue", "queued", type=click.IntRange(min=1), default=64, show_default=True, help="Jobs that may wait."
)
@click.option("--keep", type=click.IntRange(min=1), default=256, show_default=True, help="Finished jobs that are kept.")
@click.option("--max-model", default="2G", show_default=True, help="The largest model.")
@click.option("--memory", default="8G", show_default=True, help="Address space of each process of a compile.")
@click.option("--time", "seconds", default="15m", show_default=True, help="Of a compile.")
@common
def command(
    host: str,
    port: int,
    folder: Path,
    token_file: Path | None,
    workers: int,
    queued: int,
    keep: int,
    max_model: str,
    memory: str,
    seconds: str,
    as_json: bool,
) -> None:
    """Compile models that clients send, in processes with limits of memory and time.

    The connection is not encrypted: put a proxy with TLS before any address that others can reach.
    """
    from optc.driver.options import parse_budget
    from optc.driver.service.settings import Settings
    from optc.sizes import parse_size

    try:
        from optc.driver.service.web import serve
    except ModuleNotFoundError as fault:
        raise OptcError(f"the service needs the package {fault.name}", hint="pip install 'optc[service]'") from fault
    try:
        token = token_file.read_text().strip() if token_file else os.environ.get(TOKEN_VARIABLE, "")
    except OSError as fault:
        raise OptcError("the token cannot be read", where=str(token_file), why=fault.strerror) from fault
    settings = Settings(
        folder=folder.absolute(),
        token=token,
        workers=workers,
        queued=queued,
        kept=keep,
        model_bytes=parse_size(max_model, where="--max-model") or 0,
        memory_bytes=parse_size(memory, where="--memory") or 0,
        seconds=parse_budget(seconds) or 0.0,
    )
    serve(settings, host, port)
