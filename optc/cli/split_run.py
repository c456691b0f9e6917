"""`optc run --server`: a split model on the device's side."""

from __future__ import annotations

import dataclasses
import functools
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from optc.cli.output import seconds_text, size_text
from optc.cli.parameters import Number
from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.runtime.split import Answer, Report

_OPTIONS = (
    click.option("--server", metavar="HOST:PORT", help="Of `optc serve`; ARTIFACT is then what `optc split` wrote."),
    click.option("--secret-file", type=click.Path(path_type=Path), help="What the server wants to be told."),
    click.option("--ca", type=click.Path(path_type=Path), help="Who must have signed the server's certificate; TLS."),
    click.option("--cert", type=click.Path(path_type=Path), help="The device's own certificate (PEM)."),
    click.option("--key", type=click.Path(path_type=Path), help="Of --cert."),
    click.option("--way", metavar="NAME", help="The way to take (default: the one predicted to be fastest)."),
    click.option("--timeout", type=Number(min=0.001), default=5.0, show_default=True, help="Seconds for an answer."),
)


@dataclasses.dataclass(frozen=True)
class SplitOptions:
    """The options of `optc run` that concern split models."""

    server: str | None
    secret_file: Path | None
    ca: Path | None
    cert: Path | None
    key: Path | None
    way: str | None
    timeout: float


def split_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options, as the argument `split`."""

    @functools.wraps(function)
    def wrapped(*args: Any, **keywords: Any) -> None:
        fields = {field.name: keywords.pop(field.name) for field in dataclasses.fields(SplitOptions)}
        function(*args, split=SplitOptions(**fields), **keywords)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def is_split(folder: str) -> bool:
    """Whether `optc split` wrote a folder."""
    from optc.artifact.split_record import RECORD

    return Path(folder, RECORD).is_file()


def run_split(
    folder: str, given: Mapping[str, np.ndarray], seed: int, threads: int | None, options: SplitOptions
) -> tuple[dict[str, np.ndarray], list[str], Report]:
    """Answer one request.

    Args:
        folder: of the split model.
        given: inputs; the others are random.
        seed: of the random ones.
        threads: on the device.
        options: where the server is, and who may talk to it.

    Returns:
        the outputs, the names of the random inputs, and how the request was answered.

    Raises:
        OptcError: the server refuses this device; or it does not answer and the device cannot.
    """
    from optc.runtime.random_inputs import random_inputs
    from optc.runtime.split import Client, Fixed
    from optc.runtime.split.handshake import read_secret

    secret = b"" if options.secret_file is None else read_secret(options.secret_file)
    chooser = None if options.way is None else Fixed(options.way)
    with Client(
        folder,
        options.server,
        secret=secret,
        tls=_tls(options),
        chooser=chooser,
        timeout=options.timeout,
        threads=threads,
    ) as client:
        client.connect(options.timeout)
        if client.refusal is not None:
            raise client.refusal
        missing = [info for info in client.record.inputs if info.name not in given]
        answer: Answer = client.run({**given, **random_inputs(missing, seed)})
    return answer.outputs, [info.name for info in missing], answer.report


def describe(report: Report) -> str:
    """One line about who answered, how long it took, and what was sent."""
    if report.left:
        return f"answered by the device ({report.way}) in {seconds_text(report.seconds)}, as nothing needs to be sent"
    if not report.remote:
        why = f"because {report.reason}" if report.reason else "as that is predicted to be fastest"
        return f"answered by the device in {seconds_text(report.seconds)}, {why}"
    moved = f"{size_text(report.sent_bytes)} sent, {size_text(report.received_bytes)} received"
    return f"answered with the server ({report.way}) in {seconds_text(report.seconds)}, {moved}"


def _tls(options: SplitOptions) -> ssl.SSLContext | None:
    from optc.runtime.split.tls import client_context

    if options.ca is None:
        if options.cert is not None or options.key is not None:
            hint = "give --ca: the certificate of who signed the server's"
            raise UsageError("a certificate is only shown to a server whose own is checked", hint=hint)
        return None
    return client_context(options.ca, options.cert, options.key)
