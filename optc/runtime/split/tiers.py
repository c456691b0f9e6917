"""A server that is itself the device of a next one: its half of the model is a split model, too.

A phone asks an edge server, and that one a data centre; each has its own link, its own controller, and its own whole
model to fall back to when the next tier is gone.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optc.runtime.split.client import Chooser, Client


@dataclass(frozen=True)
class NextTier:
    """Who a server asks in turn.

    Attributes:
        address: `host:port`.
        secret: that the next server knows.
        tls: of `optc.runtime.split.tls`; None for no encryption.
        timeout: the most seconds that its answer is waited for.
        chooser: makes what picks the way of each request to it; None for what is predicted to be fastest.
    """

    address: str
    secret: bytes = b""
    tls: ssl.SSLContext | None = None
    timeout: float = 5.0
    chooser: Callable[[], Chooser] | None = None


class SplitEngine:
    """A half that is a split model.

    Args:
        folder: of that split model.
        copies: how many requests may run at once.
        threads: of each run here.
        beyond: the next tier; None to do everything here.
    """

    def __init__(self, folder: Path, copies: int, threads: int | None, beyond: NextTier | None) -> None:
        if beyond is None:
            self._client = Client(folder, None, threads=threads, copies=copies)
        else:
            self._client = Client(
                folder,
                beyond.address,
                secret=beyond.secret,
                tls=beyond.tls,
                timeout=beyond.timeout,
                chooser=None if beyond.chooser is None else beyond.chooser(),
                threads=threads,
                copies=copies,
            )

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._client.run(inputs).outputs

    def close(self) -> None:
        self._client.close()
