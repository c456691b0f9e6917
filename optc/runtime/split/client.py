"""The device's side of a split model: each request is answered, by the server's help or without it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from optc.artifact.split_reading import read_record
from optc.artifact.split_record import LOCAL, SplitRecord
from optc.errors import OptcError, UsageError
from optc.ir.source import near
from optc.runtime.arrays import check_inputs
from optc.runtime.split.control.predictive import ModelPredictive
from optc.runtime.split.frames import FrameFault
from optc.runtime.split.handshake import HANDSHAKE_LIMIT
from optc.runtime.split.link import Exchange, Link, State, Timing, Unanswered
from optc.runtime.split.messages import Statistics
from optc.runtime.split.observation import Observation, Observer
from optc.runtime.split.ways import OpenWay, message_bytes, open_way

# Times the expected duration of a request after which its answer is no longer waited for.
_PATIENCE_FACTOR = 3.0
_PATIENCE_LEAST = 0.1
# Seconds after which the link is measured again for a chooser that needs to know it.
_PROBE = 1.0
# Seconds after which a request whose link was closed in the same moment is given up.
_CLOSING = 1.0


@dataclass(frozen=True)
class Report:
    """How a request was answered. Times are in seconds, bytes are those of whole frames.

    Attributes:
        way: the way whose outputs these are.
        wanted: the way that was chosen; another one than `way` where the server did not answer.
        reason: why the server did not answer; empty where it did or was not asked.
        seconds: in all.
        device_seconds: computing on the device, what was in vain included.
        encode_seconds: making bytes of the values at the cut.
        exchange_seconds: from the first byte sent until the last received, or until the server was given up.
        server: how loaded the server was, where it answered.
        sent_bytes: on the wire, to the server.
        received_bytes: on the wire, from the server.
        link_seconds: of `exchange_seconds`, from when the connection had the first byte until it had the last; the rest
            is what the device needs around it. 0 where that is not known.
        left: whether the device's half of `way` found by itself that nothing needs to be sent.
    """

    way: str
    wanted: str
    reason: str = ""
    seconds: float = 0.0
    device_seconds: float = 0.0
    encode_seconds: float = 0.0
    exchange_seconds: float = 0.0
    server: Statistics | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    link_seconds: float = 0.0
    left: bool = False

    @property
    def remote(self) -> bool:
        """Whether the server took part."""
        return self.server is not None


@dataclass(frozen=True)
class Answer:
    """The outputs of the model, and how they came about."""

    outputs: dict[str, np.ndarray]
    report: Report


class Chooser(Protocol):
    """Says for each request in which way it is to be answered; called from any thread."""

    def choose(self, observation: Observation) -> str:
        """The name of a way, of those whose device part is at hand."""
        ...

    def learn(self, report: Report, observation: Observation) -> None:
        """A request was answered like this."""
        ...


@runtime_checkable
class Hedger(Protocol):
    """A chooser that also knows when an answer is late."""

    def hedge_seconds(self, name: str, observation: Observation) -> float:
        """How long after sending a request for a way the device starts to compute everything by itself."""
        ...


@dataclass(frozen=True)
class Fixed:
    """Always the same way."""

    way: str

    def choose(self, observation: Observation) -> str:
        return self.way

    def learn(self, report: Report, observation: Observation) -> None:
        pass


@dataclass
class _Work:
    """What a request has cost so far."""

    began: float = field(default_factory=time.perf_counter)
    device: float = 0.0
    encode: float = 0.0
    exchange: float = 0.0


class Client:
    """A split model on the device.

    Args:
        folder: what `optc split` wrote; server halves may be missing from it.
        server: `host:port`, or None to do everything on the device.
        secret: that the server knows.
        tls: of `optc.runtime.split.tls`; None for no encryption.
        chooser: picks the way of each request; None for the one that is predicted to be fastest at the moment.
        timeout: the most seconds that an answer is waited for. Once durations are known, it is a multiple of what is
            expected, if that is less.
        threads: of each run on the device.
        timing: how patient the link is.
        copies: requests that each half may compute at once.

    Attributes:
        record: of the split model.
        observer: what is known of link and server.

    Raises:
        OptcError: there is no split model, or this machine cannot run its device halves.
        UsageError: the server's address is none.
    """

    def __init__(
        self,
        folder: str | Path,
        server: str | None,
        *,
        secret: bytes = b"",
        tls: ssl.SSLContext | None = None,
        chooser: Chooser | None = None,
        timeout: float = 5.0,
        threads: int | None = None,
        timing: Timing | None = None,
        copies: int = 1,
    ) -> None:
        self.record: SplitRecord = read_record(folder)
        self.observer = Observer()
        self._folder = Path(folder)
        self._threads = threads
        self._copies = copies
        self._timeout = timeout
        self._lock = threading.Lock()
        self._ways: dict[str, OpenWay] = {}
        self._chooser: Chooser = chooser or ModelPredictive.of_record(self.record)
        # Loading is no part of a request: whatever may be chosen is loaded now.
        for way in [self._chooser.way] if isinstance(self._chooser, Fixed) else [way.name for way in self.record.ways]:
            self._open(way)
        if self.record.local is not None:
            self._open(LOCAL)
        # Computes what the server is late with, while the server is still waited for.
        self._aside = ThreadPoolExecutor(copies, "optc-local")
        self._link: Link | None = None
        if server is not None:
            host, port = parse_address(server)
            limit = max((message_bytes(way.returned) for way in self.record.ways), default=0)
            self._link = Link(
                host,
                port,
                identity=bytes.fromhex(self.record.identity),
                secret=secret,
                tls=tls,
                reply_limit=max(limit, HANDSHAKE_LIMIT),
                observer=self.observer,
                timing=timing or Timing(probe=None if isinstance(self._chooser, Fixed) else _PROBE),
            )

    @property
    def state(self) -> State:
        """Of the link."""
        return State.CLOSED if self._link is None else self._link.state

    @property
    def refusal(self) -> OptcError | None:
        """Why the server will not talk to this device, if that is so."""
        return None if self._link is None else self._link.refusal

    def connect(self, patience: float = 5.0) -> bool:
        """Wait up to so many seconds for the first attempt to connect to end; whether the server is there."""
        return self._link is not None and self._link.wait(patience)

    def run(self, inputs: Mapping[str, Any]) -> Answer:
        """Answer a request. May be called from several threads.

        Args:
            inputs: an array for each input of the model, of exactly its type and shape.

        Raises:
            UsageError: an input is missing, unknown, or of another type or shape.
            OptcError: the server does not answer and the device cannot; or a half of the device failed.
        """
        arrays = check_inputs(inputs, self.record.inputs)
        values = {info.name: array for info, array in zip(self.record.inputs, arrays, strict=True)}
        observation = self.observer.observation
        wanted = self._chooser.choose(observation)
        work = _Work()
        answer = self._run(self._open(wanted), values, work, observation)
        report = replace(
            answer.report,
            seconds=time.perf_counter() - work.began,
            device_seconds=work.device,
            encode_seconds=work.encode,
            exchange_seconds=work.exchange,
        )
        self.observer.request(report.seconds)
        self._chooser.learn(report, observation)
        return Answer(answer.outputs, report)

    def close(self) -> None:
        """End the connection and free the halves."""
        if self._link is not None:
            self._link.close()
        self._aside.shutdown()
        with self._lock:
            for way in self._ways.values():
                if way.engine is not None:
                    way.engine.close()
            self._ways.clear()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, way: OpenWay, values: dict[str, np.ndarray], work: _Work, observation: Observation) -> Answer:
        name = way.way.name
        if way.way.server is None:
            return Answer(self._outputs(self._compute(way, values, work)), Report(name, name))
        made: dict[str, np.ndarray] = {}
        if way.way.exit is not None:
            # Who may leave needs no link to do so.
            made = self._compute(way, values, work)
            if made[way.way.exit].all():
                return Answer(self._outputs(made), Report(name, name, left=True))
        state = self.state
        if self._link is None or state is not State.UP:
            reason = "no server was given" if self._link is None else self._link.reason
            return self._fall_back(name, reason, values, work)
        made = {**values, **(made or self._compute(way, values, work))}
        began = time.perf_counter()
        coded = way.sent.encode(made)
        encoded = time.perf_counter()
        work.encode = encoded - began
        aside: Future[dict[str, np.ndarray]] | None = None
        spent = _Work()
        reason = ""
        try:
            exchanged = self._link.submit(way.entry, coded, self._patience(way))
            if self._is_late(name, exchanged, observation):
                aside = self._aside.submit(self._compute, self._open(LOCAL), values, spent)
                either: list[Future[Any]] = [exchanged, aside]
                wait(either, return_when=FIRST_COMPLETED)
            if aside is not None and not exchanged.done():
                reason = "the answer was late"
            else:
                exchange = exchanged.result(self._timeout + _CLOSING)
                returned = way.returned.decode(exchange.reply.tensors)
                work.exchange = time.perf_counter() - encoded
                return Answer(self._outputs({**made, **returned}), _remote_report(name, exchange))
        except Unanswered as fault:
            reason = str(fault)
        except (CancelledError, TimeoutError):
            reason = "the link is closed"
        except FrameFault as fault:
            reason = f"the server's answer is of no use: {fault}"
        work.exchange = time.perf_counter() - encoded
        if aside is not None:
            made = aside.result()
            work.device += spent.device
            return Answer(self._outputs(made), Report(LOCAL, name, reason))
        return self._fall_back(name, reason, values, work)

    def _is_late(self, name: str, exchanged: Future[Exchange], observation: Observation) -> bool:
        """Wait for an answer as long as the chooser says; whether the device should then compute everything, too."""
        if not isinstance(self._chooser, Hedger) or self.record.local is None:
            return False
        patience = self._chooser.hedge_seconds(name, observation)
        if patience > threading.TIMEOUT_MAX:
            return False
        done, _ = wait((exchanged,), timeout=max(patience, 0.0))
        return not done

    def _fall_back(self, wanted: str, reason: str, values: dict[str, np.ndarray], work: _Work) -> Answer:
        """Everything on the device."""
        if self.record.local is None:
            why = "the whole model was not built for the device"
            raise OptcError(f"the server does not answer: {reason}", where=str(self._folder), why=why)
        made = self._compute(self._open(LOCAL), values, work)
        return Answer(self._outputs(made), Report(LOCAL, wanted, reason))

    def _compute(self, way: OpenWay, values: dict[str, np.ndarray], work: _Work) -> dict[str, np.ndarray]:
        """The outputs of the device's half; none where it has nothing to do."""
        half = way.way.device
        if way.engine is None or half is None:
            return {}
        began = time.perf_counter()
        with self.observer.computing():
            made = way.engine.run({info.name: values[info.name] for info in half.inputs})
        seconds = time.perf_counter() - began
        work.device += seconds
        self.observer.device(seconds, way.way.predicted.device_seconds)
        return made

    def _outputs(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {info.name: values[info.name] for info in self.record.outputs}

    def _patience(self, way: OpenWay) -> float:
        """How long to wait for the server: a multiple of what is expected, where enough is known to expect anything."""
        now = self.observer.observation
        if now.bytes_per_second is None or now.rtt_seconds is None or now.server_seconds is None:
            return self._timeout
        moving = (way.way.sent_bytes + way.way.returned_bytes) / now.bytes_per_second
        server = max(now.server_seconds, way.way.predicted.server_seconds) + (now.server_wait_seconds or 0.0)
        expected = moving + now.rtt_seconds + server
        return min(max(_PATIENCE_FACTOR * expected, _PATIENCE_LEAST), self._timeout)

    def _open(self, name: str) -> OpenWay:
        """The way called `name`, loaded when it is used first."""
        with self._lock:
            if name not in self._ways:
                names = [way.name for way in self.record.ways]
                if name not in names:
                    hint = near(name, names) or f"there are {', '.join(names)}"
                    raise UsageError(f"no way of the split model is called '{name}'", hint=hint)
                entry = names.index(name)
                way = open_way(
                    self._folder, self.record, entry, server=False, copies=self._copies, threads=self._threads
                )
                half = way.way.device
                way.warm_up(self.record.inputs if half is None else half.inputs, way.sent)
                self._ways[name] = way
            return self._ways[name]


def _remote_report(name: str, exchange: Exchange) -> Report:
    return Report(
        name,
        name,
        server=exchange.reply.statistics,
        sent_bytes=exchange.sent_bytes,
        received_bytes=exchange.received_bytes,
        link_seconds=exchange.seconds,
    )


def parse_address(text: str) -> tuple[str, int]:
    """`host:port` and `[v6]:port` as a pair. Raises UsageError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"'{text}' is no address of a server", where="--server", hint="--server 192.168.1.20:7000")
    return host, int(port)
