"""A TCP proxy that damages what passes: flipped bytes, connections cut in the middle of a frame, lost pieces.

    python benchmarks/bad_proxy.py --listen 127.0.0.1:0 --to 127.0.0.1:7000 --flip 0.001 --cut 0.001 --skip 0.001

Each figure is the probability for one portion of up to 1,400 bytes. It prints the port that it listens on.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

_PORTION = 1400


@dataclass
class BadProxy:
    """Damage on the way to `host`:`port`.

    Attributes:
        flip: the probability that a bit of a portion is flipped.
        cut: that the connection ends in the middle of a portion.
        skip: that some bytes of a portion are left out.
        done: how often each happened.
    """

    host: str
    port: int
    flip: float = 0.0
    cut: float = 0.0
    skip: float = 0.0
    seed: int = 0
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._connected, host, port)
        return self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        self.done["connections"] += 1
        with suppress(OSError):
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        for each in (writer, back):
            each.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PORTION):
            damaged, ended = self._damage(bytearray(data))
            writer.write(damaged)
            await writer.drain()
            if ended:
                raise ConnectionAbortedError
        writer.write_eof()

    def _damage(self, data: bytearray) -> tuple[bytearray, bool]:
        at = self._random.randrange(len(data))
        if self._random.random() < self.flip:
            self.done["flip"] += 1
            data[at] ^= 1 << self._random.randrange(8)
        if self._random.random() < self.skip:
            self.done["skip"] += 1
            del data[at : at + 1 + self._random.randrange(64)]
        if self._random.random() < self.cut:
            self.done["cut"] += 1
            return data[:at], True
        return data, False


async def _main(arguments: argparse.Namespace) -> None:
    host, port = arguments.to.rsplit(":", 1)
    proxy = BadProxy(host, int(port), arguments.flip, arguments.cut, arguments.skip, arguments.seed)
    host, port = arguments.listen.rsplit(":", 1)
    print(await proxy.start(host, int(port)), flush=True)
    while True:
        await asyncio.sleep(1.0)
        print(dict(proxy.done), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--to", required=True)
    for name in ("flip", "cut", "skip"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
