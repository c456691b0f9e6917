"""Frames over an asyncio stream, with time limits and counted bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from optc.runtime.split.frames import Buffer, Header, Kind, Reader, Seals, pack

_PORTION = 1 << 16


class Closed(Exception):
    """The connection has ended, or did not move within the time that it was given; the text is one sentence."""


class Silent(Closed):
    """Nothing came within the time; reading may go on."""


class Connection:
    """One end of a connection. Frames may be written by several tasks, and are read by one.

    Args:
        reader, writer: of asyncio.
        limit: the longest payload that is taken, in bytes.

    Attributes:
        sent_bytes: of all frames so far, headers and seals included; TLS adds its own.
        received_bytes: likewise.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        self._stream = reader
        self._writer = writer
        self._frames: deque[tuple[Header, bytes]] = deque()
        self._reader = Reader(Seals(), limit)
        self._seals = Seals()
        self.sent_bytes = 0
        self.received_bytes = 0

    def seal(self, *, reading: bytes, writing: bytes, limit: int) -> None:
        """Use these keys, and take payloads of up to `limit` bytes, from the next frame on."""
        if self._frames or self._reader.pending:
            raise Closed("the peer went on before the handshake was over")
        self._reader = Reader(Seals(reading), limit)
        self._seals = Seals(writing)

    def accept(self, limit: int) -> None:
        """Take payloads of up to `limit` bytes from the next frame on."""
        self._reader.limit = limit

    async def read(
        self, patience: float, reserve: Callable[[int], Awaitable[None]] | None = None
    ) -> tuple[Header, bytes]:
        """The next frame.

        Args:
            patience: seconds within which something has to come, each time that something is missing.
            reserve: awaited with the length of a payload before more than its beginning is read.

        Raises:
            Closed: the connection ended, or nothing came.
            FrameFault: what came is no frame.
        """
        while not self._frames:
            try:
                async with asyncio.timeout(patience):
                    data = await self._stream.read(_PORTION)
            except TimeoutError as fault:
                raise Silent(f"nothing came for {patience:g} s") from fault
            except OSError as fault:
                raise Closed(f"the connection broke: {fault.strerror or fault}") from fault
            if not data:
                raise Closed("the other side closed the connection")
            self.received_bytes += len(data)
            self._frames.extend(self._reader.feed(data))
            if reserve is not None and not self._frames and self._reader.announced:
                await reserve(self._reader.announced)
        return self._frames.popleft()

    async def write(
        self, kind: Kind, request: int, model: bytes, payload: Sequence[Buffer] = (), *, patience: float
    ) -> int:
        """Send a frame; returns its bytes.

        Args:
            kind, request, model, payload: of the frame.
            patience: seconds within which the peer has to take enough of what waits to be sent.

        Raises:
            Closed: the connection ended, or the peer does not read.
        """
        pieces = pack(self._seals, kind, request, model, payload)
        size = sum(memoryview(piece).nbytes for piece in pieces)
        self.sent_bytes += size
        try:
            self._writer.writelines(pieces)
            async with asyncio.timeout(patience):
                await self._writer.drain()
        except TimeoutError as fault:
            raise Closed(f"the peer took nothing for {patience:g} s") from fault
        except (OSError, RuntimeError) as fault:
            raise Closed(f"the connection broke: {fault}") from fault
        return size

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were written here and have not been handed to the system yet."""
        return self._writer.transport.get_write_buffer_size()

    async def close(self, patience: float = 1.0) -> None:
        """End the connection after what was written has gone out, if that takes no longer than `patience` seconds."""
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self._writer.close()
            async with asyncio.timeout(patience):
                await self._writer.wait_closed()
        self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()
