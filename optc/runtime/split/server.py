"""The server of split models: asyncio accepts, checks and frames; a pool of threads computes.

asyncio rather than gRPC: a frame adds 40 bytes and one task per connection, back-pressure is that of TCP, everything
is in the standard library, and nothing of a request is parsed before the peer has proved the secret. uvloop saves less
than 0.15 ms of an exchange, so it is no dependency.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optc.artifact.split_reading import read_record
from optc.artifact.split_record import SplitRecord
from optc.errors import OptcError, UsageError
from optc.runtime.split import handshake
from optc.runtime.split.batches import can_batch
from optc.runtime.split.budget import Budget
from optc.runtime.split.connection import Closed, Connection
from optc.runtime.split.frames import MODEL_BYTES, Buffer, FrameFault, Header, Kind
from optc.runtime.split.messages import pack_busy, pack_text, parse_request
from optc.runtime.split.scheduler import Busy, Scheduler, Totals
from optc.runtime.split.served import Served, next_folders, serve_folder
from optc.runtime.split.tiers import NextTier

_logger = logging.getLogger("optc.serve")


@dataclass(frozen=True)
class Limits:
    """What the server spends at most.

    Attributes:
        workers: requests, or batches, that are computed at a time; None: one per CPU.
        threads: of each of them.
        batch: requests in a batch.
        queue: requests that wait for a worker; more are told when to ask again.
        connections: at a time.
        in_flight: requests of one connection that wait or are computed; it is not read from while there are more.
        memory: bytes of requests that are being received, of all connections together.
        handshake: seconds that it may take.
        idle: seconds without a byte after which a connection is closed.
        write: seconds for a peer to take an answer.
        grace: seconds that what was begun may take when the server is told to stop.
    """

    workers: int | None = None
    threads: int | None = 1
    batch: int = 8
    queue: int = 64
    connections: int = 1024
    in_flight: int = 8
    memory: int = 256 << 20
    handshake: float = 5.0
    idle: float = 30.0
    write: float = 30.0
    grace: float = 10.0


class Server:
    """The server halves of a split model on a port.

    Args:
        folder: what `optc split` wrote.
        host: the address to listen on.
        port: 0 for a free one.
        secret: what clients have to know; empty only where `tls` asks for their certificates.
        tls: of `optc.runtime.split.tls`; None for no encryption.
        limits: what it spends at most.
        beyond: who it asks in turn, where its halves are split themselves.
        last: whether it is that next tier, of the server that serves `folder`.

    Attributes:
        record: of the split model.
        address: host and port, once it listens.

    Raises:
        OptcError: there is no split model, or this machine cannot run its server halves.
        UsageError: everybody could use the server.
    """

    def __init__(
        self,
        folder: str | Path,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        secret: bytes = b"",
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        beyond: NextTier | None = None,
        last: bool = False,
    ) -> None:
        if not secret and (tls is None or tls.verify_mode != ssl.CERT_REQUIRED):
            hint = "give --secret-file, or --cert, --key and --client-ca"
            raise UsageError("the server would compute for everybody", hint=hint)
        limits = limits or Limits()
        self.limits = replace(limits, workers=limits.workers or os.cpu_count() or 1)
        self.record: SplitRecord = read_record(folder)
        self.address = (host, port)
        self._secret = secret
        self._tls = tls
        folders = list(next_folders(Path(folder))) if last else [Path(folder)]
        if not folders:
            hint = "optc split --beyond makes one that has"
            raise OptcError("the split model has nothing for a next tier to do", where=str(folder), hint=hint)
        workers, threads = self.limits.workers or 1, self.limits.threads
        opened = (
            serve_folder(each, workers=workers, threads=threads, in_flight=self.limits.in_flight, beyond=beyond)
            for each in folders
        )
        self._served = {each.identity: each for each in opened}
        self._connections: dict[asyncio.Task[None], _Peer] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self._scheduler: Scheduler | None = None
        self._stopping = False

    @property
    def ways(self) -> list[str]:
        """The names of the ways that it takes part in."""
        return [way.way.name for served in self._served.values() for way in served.ways.values()]

    @property
    def totals(self) -> Totals:
        """What it has done so far."""
        return Totals() if self._scheduler is None else self._scheduler.totals

    async def start(self) -> None:
        """Listen.

        Raises:
            OptcError: the address cannot be used.
        """
        every = (way for served in self._served.values() for way in served.ways.values())
        batched = [way for way in every if self.limits.batch > 1 and can_batch(way)]
        self._scheduler = Scheduler(self.limits.workers or 1, self.limits.queue, self.limits.batch, batched)
        self._budget = Budget(self.limits.memory)
        try:
            self._listening = await asyncio.start_server(
                self._connected,
                *self.address,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else self.limits.handshake,
            )
        except (OSError, OverflowError) as fault:
            why = getattr(fault, "strerror", None) or str(fault)
            raise OptcError("the server cannot listen", where="{}:{}".format(*self.address), why=why) from fault
        self.address = self._listening.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """Take no more requests, answer those that were begun, say goodbye and close."""
        self._stopping = True
        if self._listening is not None:
            self._listening.close()
        goodbye = [pack_text("the server stops")]
        for peer in list(self._connections.values()):
            with suppress(Closed):
                await peer.connection.write(Kind.GOODBYE, 0, peer.served.model, goodbye, patience=1.0)
        if self._answering:
            await asyncio.wait(self._answering, timeout=self.limits.grace)
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._scheduler is not None:
            self._scheduler.close()
        for served in self._served.values():
            served.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, handshake.HANDSHAKE_LIMIT)
        peer = writer.get_extra_info("peername")
        task = asyncio.current_task()
        if self._stopping or task is None or len(self._connections) >= self.limits.connections:
            connection.abort()
            return
        # Until it names another one, what it is told is in the name of the first model.
        own = self._connections[task] = _Peer(connection, next(iter(self._served.values())))
        try:
            await self._serve(own)
        except (Closed, handshake.Refused, asyncio.CancelledError) as end:
            _logger.info("%s: %s", peer, end or "closed")
        except FrameFault as fault:
            _logger.info("%s: %s", peer, fault)
            with suppress(Closed):
                await connection.write(Kind.ERROR, 0, own.served.model, [pack_text(str(fault))], patience=1.0)
        except Exception as fault:
            traced = _logger.isEnabledFor(logging.DEBUG)
            _logger.error("%s: a bug in optc: %s: %s", peer, type(fault).__name__, fault, exc_info=traced)
        finally:
            del self._connections[task]
            await connection.close()

    async def _serve(self, peer: _Peer) -> None:
        connection = peer.connection
        try:
            async with asyncio.timeout(self.limits.handshake):
                await self._admit(peer)
        except TimeoutError as fault:
            raise Closed("the handshake took too long") from fault
        reserved = 0

        async def reserve(length: int) -> None:
            nonlocal reserved
            if not reserved:
                reserved = await self._budget.take(length)

        places = asyncio.Semaphore(self.limits.in_flight)
        async with _Answers(self._answering) as answers:
            try:
                while True:
                    header, payload = await connection.read(self.limits.idle, reserve)
                    held, reserved = reserved, 0
                    if header.kind is Kind.REQUEST:
                        # While too many are under way nothing is read, and TCP holds the client back.
                        await places.acquire()
                        answers.start(self._answer(peer, header, payload, places, held))
                    elif header.kind is Kind.PING:
                        self._budget.give(held)
                        model = peer.served.model
                        await connection.write(Kind.PONG, header.request, model, patience=self.limits.write)
                    else:
                        raise FrameFault(f"a {header.kind.name} is not for a server")
            finally:
                self._budget.give(reserved)

    async def _admit(self, peer: _Peer) -> None:
        """The handshake. Raises Closed, FrameFault, Refused."""
        connection, patience = peer.connection, self.limits.handshake
        hello, client_nonce = await connection.read(patience)
        if hello.kind is not Kind.HELLO or len(client_nonce) != handshake.HELLO_BYTES:
            raise FrameFault("the handshake begins with something else")
        server_nonce = handshake.nonce()
        message = handshake.challenge(self._secret, client_nonce, server_nonce)
        await connection.write(Kind.CHALLENGE, 0, bytes(MODEL_BYTES), [message], patience=patience)
        proof, message = await connection.read(patience)
        if proof.kind is not Kind.PROOF:
            raise FrameFault("the handshake goes on with something else")
        model, keys = handshake.check(self._secret, client_nonce, server_nonce, message)
        peer.served = self._served.get(model, peer.served)
        served = peer.served
        connection.seal(reading=keys.to_server, writing=keys.to_client, limit=served.ready.frame_bytes)
        if model != served.identity:
            text = f"the server holds the split model {served.record.identity[:16]}, and the client {model.hex()[:16]}"
            await connection.write(Kind.ERROR, 0, served.model, [pack_text(text)], patience=patience)
            raise handshake.Refused(text)
        await connection.write(Kind.READY, 0, served.model, [served.ready.pack()], patience=patience)

    async def _answer(self, peer: _Peer, header: Header, payload: bytes, places: asyncio.Semaphore, held: int) -> None:
        """Compute a request and write what comes of it; whatever happens, the peer hears of it or is gone."""
        try:
            kind, pieces = await self._outcome(peer.served, header, payload)
            await peer.connection.write(kind, header.request, peer.served.model, pieces, patience=self.limits.write)
        except Closed:
            peer.connection.abort()
        finally:
            self._budget.give(held)
            places.release()

    async def _outcome(self, served: Served, header: Header, payload: bytes) -> tuple[Kind, list[Buffer]]:
        try:
            if self._scheduler is None or self._stopping:
                raise OptcError("the server stops")
            if header.model != served.model:
                raise FrameFault("the frame belongs to another split model")
            request = parse_request(payload, served.ready.tensor_bytes)
            way = served.ways.get(request.entry)
            if way is None:
                raise FrameFault(f"way {request.entry} needs no server")
            reply = await self._scheduler.answer(way, request)
        except Busy as busy:
            return Kind.BUSY, [pack_busy(busy.retry_ms, busy.statistics)]
        except (FrameFault, OptcError) as fault:
            return Kind.ERROR, [pack_text(fault.what if isinstance(fault, OptcError) else str(fault))]
        return Kind.REPLY, reply.pack()


@dataclass
class _Peer:
    """Who is at the other end, and the model that it uses."""

    connection: Connection
    served: Served


class _Answers:
    """Tasks that end with their connection, if they do not end before; `everywhere` knows those of all connections."""

    def __init__(self, everywhere: set[asyncio.Task[None]]) -> None:
        self._everywhere = everywhere
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        for tasks in (self._tasks, self._everywhere):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def __aenter__(self) -> _Answers:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
