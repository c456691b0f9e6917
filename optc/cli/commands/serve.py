"""`optc serve`: the server's side of a split model."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.output import emit_json
from optc.cli.parameters import Number, common
from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.runtime.split import NextTier, Server

_MB = 1 << 20


@click.command("serve")
@click.argument("build", type=click.Path(path_type=Path))
@click.option("--host", default="0.0.0.0", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=7000, show_default=True, help="0 for a free one.")
@click.option("--secret-file", type=click.Path(path_type=Path), help="What clients have to know (16 bytes or more).")
@click.option("--cert", type=click.Path(path_type=Path), help="The server's certificate (PEM); turns TLS on.")
@click.option("--key", type=click.Path(path_type=Path), help="Of --cert.")
@click.option("--client-ca", type=click.Path(path_type=Path), help="Who must have signed the clients' certificates.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Requests computed at a time (default: one per core).")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Of each request.")
@click.option("--batch", type=click.IntRange(1, 1024), default=8, show_default=True, help="Requests in a batch.")
@click.option("--queue", type=click.IntRange(1, 65535), default=64, show_default=True, help="Requests that may wait.")
@click.option("--connections", type=click.IntRange(1, 65535), default=1024, show_default=True, help="At a time.")
@click.option("--memory", type=click.IntRange(1), default=256, show_default=True, help="MB of requests being received.")
@click.option("--idle", type=Number(min=0.1), default=30.0, show_default=True, help="Seconds before silence ends it.")
@click.option("--next", "beyond", metavar="HOST:PORT", help="The next tier, for a BUILD of optc split --beyond.")
@click.option("--last", is_flag=True, help="Be that next tier, of the server that serves BUILD.")
@click.option("--next-secret-file", type=click.Path(path_type=Path), help="What the next tier wants to be told.")
@click.option("--next-ca", type=click.Path(path_type=Path), help="Who must have signed its certificate; TLS to it.")
@common
def command(
    build: Path,
    host: str,
    port: int,
    secret_file: Path | None,
    cert: Path | None,
    key: Path | None,
    client_ca: Path | None,
    workers: int | None,
    threads: int,
    batch: int,
    queue: int,
    connections: int,
    memory: int,
    idle: float,
    beyond: str | None,
    last: bool,
    next_secret_file: Path | None,
    next_ca: Path | None,
    as_json: bool,
) -> None:
    """Compute the server halves of the split model BUILD for devices that know the secret.

    Stops on an interrupt, after it has answered what it had begun to compute.
    """
    from optc.runtime.split import Limits, Server
    from optc.runtime.split.handshake import read_secret

    limits = Limits(workers, threads, batch, queue, connections, memory=memory * _MB, idle=idle)
    secret = b"" if secret_file is None else read_secret(secret_file)
    tier = _next_tier(beyond, next_secret_file, next_ca)
    tls = _tls(cert, key, client_ca)
    server = Server(build, host, port, secret=secret, tls=tls, limits=limits, beyond=tier, last=last)
    asyncio.run(_serve(server, as_json))
    if not as_json:
        totals = dataclasses.asdict(server.totals)
        click.echo(f"stopped: {', '.join(f'{count} {name}' for name, count in totals.items())}", err=True)


async def _serve(server: Server, as_json: bool) -> None:
    """Run until a signal comes."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_ignore)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    try:
        host, port = server.address
        if as_json:
            emit_json({"host": host, "port": port, "ways": server.ways, "model": server.record.identity})
        else:
            click.echo(f"serving {', '.join(server.ways)} of {server.record.model} on {host}:{port}")
        await stop.wait()
    finally:
        await server.stop()


def _ignore(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio finds in broken connections is not the user's business."""
    logging.getLogger("optc.serve").debug("%s", context.get("message"))


def _next_tier(address: str | None, secret_file: Path | None, ca: Path | None) -> NextTier | None:
    from optc.runtime.split import NextTier
    from optc.runtime.split.handshake import read_secret
    from optc.runtime.split.tls import client_context

    if address is None:
        if secret_file is not None or ca is not None:
            raise UsageError("there is no next tier to tell this to", hint="give --next HOST:PORT")
        return None
    secret = b"" if secret_file is None else read_secret(secret_file)
    return NextTier(address, secret, None if ca is None else client_context(ca))


def _tls(cert: Path | None, key: Path | None, client_ca: Path | None) -> ssl.SSLContext | None:
    from optc.runtime.split.tls import server_context

    if cert is None and key is None:
        if client_ca is not None:
            raise UsageError("clients' certificates need TLS", where="--client-ca", hint="give --cert and --key too")
        return None
    if cert is None or key is None:
        raise UsageError("a certificate and its key belong together", hint="give both --cert and --key")
    return server_context(cert, key, client_ca)
