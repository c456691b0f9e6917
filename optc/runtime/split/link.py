"""The device's connection to the server: kept up in the background, and honest about when it is not."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import enum
import itertools
import logging
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from optc.runtime.split import handshake
from optc.runtime.split.connection import Closed, Connection, Silent
from optc.runtime.split.frames import MAX_REQUEST, MODEL_BYTES, OVERHEAD, FrameFault, Header, Kind
from optc.runtime.split.messages import Ready, Reply, Request, parse_busy, parse_ready, parse_reply, parse_text
from optc.runtime.split.observation import Observer
from optc.runtime.split.tensors import CodedTensor

_logger = logging.getLogger("optc.split")


class State(enum.Enum):
    """Of the link: requests are sent only while it is UP."""

    DOWN = "down"
    UP = "up"
    SUSPECT = "suspect"  # something was not answered in time; a ping is under way
    LEAVING = "leaving"  # the server stops and answers what it has
    REFUSED = "refused"
    CLOSED = "closed"


class Unanswered(Exception):
    """The server has not answered a request and will not; the text says why, as part of a sentence."""


@dataclass(frozen=True)
class Timing:
    """Seconds.

    Attributes:
        connect: for connection and handshake together.
        backoff: before the first attempt after a loss; doubles from one attempt to the next.
        backoff_most: its bound.
        refused: before the next attempt after the server refused.
        ping: between pings.
        dead: without an answer to a ping, after which the connection is given up.
        probe: after which the rate of the link is measured anew when no request did so; None for never.
    """

    connect: float = 3.0
    backoff: float = 0.05
    backoff_most: float = 3.0
    refused: float = 30.0
    ping: float = 1.0
    dead: float = 2.0
    probe: float | None = None


@dataclass(frozen=True)
class Exchange:
    """A request that the server answered.

    Attributes:
        reply: what came back.
        sent_bytes, received_bytes: of the two frames.
        seconds: from the first byte sent until the last received.
    """

    reply: Reply
    sent_bytes: int
    received_bytes: int
    seconds: float


class Link:
    """A connection that is made again whenever it is lost. Methods are called from any thread.

    Args:
        host, port: of the server.
        identity: the hash of the split model, 32 bytes.
        secret: that the server knows; empty where certificates stand for it.
        tls: of `optc.runtime.split.tls`; None for no encryption.
        reply_limit: the longest reply, in bytes, and the longest text of an error.
        observer: is told what was measured.
        timing: how patient it is.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        identity: bytes,
        secret: bytes,
        tls: ssl.SSLContext | None,
        reply_limit: int,
        observer: Observer,
        timing: Timing,
    ) -> None:
        self._address = (host, port)
        self._identity = identity
        self._secret = secret
        self._tls = tls
        self._reply_limit = reply_limit
        self._observer = observer
        self._timing = timing
        self._state = State.DOWN
        self._reason = "not connected yet"
        self._refusal: handshake.Refused | None = None
        self._settled = threading.Event()
        self._connection: Connection | None = None
        self._ready: Ready | None = None
        self._pending: dict[int, tuple[asyncio.Future[Exchange], float, int]] = {}
        self._pings: dict[int, tuple[float, int, bool]] = {}
        self._numbers = itertools.cycle(range(1, MAX_REQUEST))
        self._not_before = 0.0
        self._until = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="optc-link", daemon=True)
        self._thread.start()

    @property
    def state(self) -> State:
        return self._state

    @property
    def reason(self) -> str:
        """Why it is not up."""
        return self._reason

    @property
    def refusal(self) -> handshake.Refused | None:
        """Why the server will not talk to this device, if that is so."""
        return self._refusal

    def wait(self, patience: float) -> bool:
        """Wait up to so many seconds for the first attempt to connect to end; whether the link is up."""
        self._settled.wait(patience)
        return self._state is State.UP

    def submit(
        self, entry: int, tensors: Sequence[CodedTensor], patience: float
    ) -> concurrent.futures.Future[Exchange]:
        """Have the server compute its half.

        Args:
            entry: the number of the way.
            tensors: the values that cross.
            patience: seconds after which the server is not trusted any more.

        Returns:
            what becomes an `Exchange`, or `Unanswered`; at most a little later than `patience`.

        Raises:
            Unanswered: nothing can be sent now.
        """
        if self._state is not State.UP:
            raise Unanswered(self._reason)
        if time.monotonic() < self._not_before:
            raise Unanswered("the server is busy")
        work = self._request(entry, tensors, patience)
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as fault:
            work.close()
            raise Unanswered("the link is closed") from fault

    def close(self) -> None:
        """End the connection and the thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(lambda: self._main.cancel())
        self._thread.join(self._timing.connect + 1.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _, context: _logger.debug("%s", context.get("message")))
        self._main = self._loop.create_task(self._keep())
        try:
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._main)
            self._set(State.CLOSED, "the link is closed")
            leftover = asyncio.all_tasks(self._loop)
            for task in leftover:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*leftover, return_exceptions=True))
        finally:
            self._loop.close()

    async def _keep(self) -> None:
        """Connect, and connect again whenever the connection is lost."""
        backoff = self._timing.backoff
        while True:
            try:
                async with asyncio.timeout(self._timing.connect):
                    connection = await self._connect()
            except handshake.Refused as refusal:
                self._refusal = refusal
                self._set(State.REFUSED, str(refusal.what))
                await asyncio.sleep(self._timing.refused)
                continue
            except (Closed, FrameFault, OSError, TimeoutError) as fault:
                self._set(State.DOWN, _why(fault))
            else:
                backoff = self._timing.backoff
                await self._use(connection)
            # Devices that lost one server at one time should not come back at one time.
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            backoff = min(2 * backoff, self._timing.backoff_most)

    async def _connect(self) -> Connection:
        host, port = self._address
        name = host if self._tls is not None else None
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=self._tls, server_hostname=name)
        except ssl.SSLCertVerificationError as fault:
            raise handshake.Refused("the server's certificate is not accepted", why=fault.verify_message) from fault
        connection = Connection(reader, writer, handshake.HANDSHAKE_LIMIT)
        try:
            await self._greet(connection)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        """The handshake."""
        patience = self._timing.connect
        client_nonce = handshake.nonce()
        await connection.write(Kind.HELLO, 0, bytes(MODEL_BYTES), [client_nonce], patience=patience)
        header, message = await connection.read(patience)
        if header.kind is not Kind.CHALLENGE:
            raise FrameFault(parse_text(message) if header.kind is Kind.ERROR else "the server sends no challenge")
        proof, keys = handshake.answer(self._secret, client_nonce, message, self._identity)
        await connection.write(Kind.PROOF, 0, bytes(MODEL_BYTES), [proof], patience=patience)
        connection.seal(reading=keys.to_client, writing=keys.to_server, limit=handshake.HANDSHAKE_LIMIT)
        header, message = await connection.read(patience)
        if header.kind is Kind.ERROR:
            hint = "copy the same folder of optc split to both machines"
            raise handshake.Refused("the server refuses this device", why=parse_text(message), hint=hint)
        if header.kind is not Kind.READY:
            raise FrameFault("the handshake ends with something else")
        self._ready = parse_ready(message)
        self._places = asyncio.Semaphore(max(self._ready.in_flight, 1))
        connection.accept(self._reply_limit)

    async def _use(self, connection: Connection) -> None:
        """Serve requests over a connection until it ends."""
        self._connection = connection
        self._refusal = None
        self._pings.clear()
        self._set(State.UP, "")
        watch = asyncio.create_task(self._watch(connection))
        why = "the connection was lost"
        try:
            while True:
                try:
                    header, payload = await connection.read(self._timing.ping + self._timing.dead)
                except Silent:
                    # A long request on a slow link holds pings up; it has a time limit of its own.
                    if time.monotonic() < self._until:
                        continue
                    raise
                self._take(header, payload)
        except (Closed, FrameFault) as fault:
            why = _why(fault)
        finally:
            watch.cancel()
            self._connection = None
            self._set(State.DOWN, why)
            connection.abort()
            for future, _, _ in self._pending.values():
                if not future.done():
                    future.set_exception(Unanswered(why))
            self._pending.clear()

    async def _watch(self, connection: Connection) -> None:
        """Ping, so that the RTT is known and a dead link is noticed, and measure the rate when nothing else did."""
        with contextlib.suppress(Closed):
            while True:
                if not self._pings:
                    await self._ping(connection, 0)
                age = self._observer.observation.age_seconds
                if self._timing.probe is not None and (age is None or age > self._timing.probe):
                    await self._ping(connection, self._probe_bytes())
                await asyncio.sleep(self._timing.ping)

    async def _ping(self, connection: Connection, size: int) -> None:
        number = next(self._numbers)
        self._pings[number] = (time.monotonic(), size, self._is_alone)
        await connection.write(Kind.PING, number, self._model, [bytes(size)], patience=self._timing.dead)

    def _probe_bytes(self) -> int:
        """What takes a link of the rate that was measured last about 100 ms: enough to tell from a ping."""
        rate = self._observer.observation.bytes_per_second or 1e6
        most = self._ready.frame_bytes if self._ready is not None else 0
        return int(min(max(rate * 0.1, 1 << 14), most, 1 << 18))

    @property
    def _is_alone(self) -> bool:
        """Whether nothing but the link would hold up a ping."""
        return not self._pending and self._observer.idle

    @property
    def _model(self) -> bytes:
        return self._identity[:MODEL_BYTES]

    async def _request(self, entry: int, tensors: Sequence[CodedTensor], patience: float) -> Exchange:
        number = next(self._numbers)
        try:
            async with asyncio.timeout(patience), self._places:
                connection = self._connection
                if connection is None or self._state is not State.UP:
                    raise Unanswered(self._reason)
                answer: asyncio.Future[Exchange] = self._loop.create_future()
                pieces = Request(entry, int(patience * 1e3) + 1, tensors).pack()
                size = OVERHEAD + sum(memoryview(piece).nbytes for piece in pieces)
                now = time.monotonic()
                self._pending[number] = (answer, now, size)
                self._until = max(self._until, now + patience)
                await connection.write(Kind.REQUEST, number, self._model, pieces, patience=patience)
                return await answer
        except TimeoutError as fault:
            self._doubt()
            raise Unanswered(f"no answer within {patience:.3g} s") from fault
        except Closed as fault:
            raise Unanswered(str(fault)) from fault
        except asyncio.CancelledError as fault:
            raise Unanswered("the link is closed") from fault
        finally:
            self._pending.pop(number, None)

    def _doubt(self) -> None:
        """Send nothing more until the server has shown that it is there."""
        connection = self._connection
        if self._state is State.UP and connection is not None:
            self._set(State.SUSPECT, "the server did not answer in time")
            self._doubting = asyncio.create_task(self._verify(connection))

    async def _verify(self, connection: Connection) -> None:
        with contextlib.suppress(Closed):
            await self._ping(connection, 0)
            await asyncio.sleep(self._timing.dead)
        if self._connection is connection and self._state is State.SUSPECT:
            connection.abort()

    def _take(self, header: Header, payload: bytes) -> None:
        """Act on a frame of the server. Raises FrameFault, Closed."""
        now = time.monotonic()
        if self._state is State.SUSPECT:
            self._set(State.UP, "")
        if header.model != self._model:
            raise FrameFault("a frame of the server belongs to another split model")
        future, began, size = self._pending.get(header.request, (None, now, 0))
        match header.kind:
            case Kind.REPLY:
                if future is not None and not future.done():
                    reply = parse_reply(payload, self._reply_limit)
                    received = OVERHEAD + len(payload)
                    self._measure(reply, size + received, now - began)
                    future.set_result(Exchange(reply, size, received, now - began))
            case Kind.BUSY:
                retry, statistics = parse_busy(payload)
                self._observer.reply(statistics)
                self._not_before = now + retry / 1e3
                _fail(future, "the server is busy")
            case Kind.ERROR if header.request:
                _fail(future, f"the server says: {parse_text(payload)}")
            case Kind.ERROR:
                raise Closed(f"the server says: {parse_text(payload)}")
            case Kind.PONG:
                began, size, alone = self._pings.pop(header.request, (now, -1, False))
                if size == 0:
                    self._observer.ping(now - began, alone=alone and self._is_alone)
                elif size > 0:
                    self._observer.transfer(size, now - began, alone=alone and self._is_alone)
            case Kind.GOODBYE:
                self._set(State.LEAVING, "the server stops")
            case _:
                raise FrameFault(f"a {header.kind.name} is not for a client")

    def _measure(self, reply: Reply, size: int, seconds: float) -> None:
        statistics = reply.statistics
        self._observer.reply(statistics)
        if len(self._pending) == 1:  # several share the link, and what each gets of it is unknown
            self._observer.transfer(size, seconds - (statistics.waited_us + statistics.service_us) / 1e6)

    def _set(self, state: State, reason: str) -> None:
        if self._state is not state:
            _logger.debug("the link is %s%s", state.value, f": {reason}" if reason else "")
        self._state, self._reason = state, reason
        self._observer.connection(state is State.UP)
        self._settled.set()


def _fail(future: asyncio.Future[Exchange] | None, why: str) -> None:
    if future is not None and not future.done():
        future.set_exception(Unanswered(why))


def _why(fault: Exception) -> str:
    if isinstance(fault, TimeoutError):
        return "the server does not answer"
    if isinstance(fault, OSError):
        # asyncio puts the address in place of the system's words.
        text = fault.strerror if isinstance(fault, socket.gaierror) or fault.errno is None else os.strerror(fault.errno)
        return f"the server cannot be reached: {text or fault}"
    return str(fault)
