"""The payloads of requests and of their answers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from optc.runtime.split.frames import Buffer, FrameFault
from optc.runtime.split.tensors import CodedTensor, pack_tensors, parse_tensors

_REQUEST = struct.Struct(">HI")
_STATISTICS = struct.Struct(">HHII")
_READY = struct.Struct(">IIHHH")
_MILLISECONDS = struct.Struct(">I")
MAX_TEXT = 1024
MAX_MESSAGE_HEAD = 64  # bytes of a request or a reply before and between its tensors
_U16, _U32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class Request:
    """What the server is asked to compute.

    Attributes:
        entry: the number of the server half in the record of the split; 0 is the whole model.
        patience_ms: the server may drop the request when nobody waits for it any more.
        tensors: the inputs of the half, in its order.
    """

    entry: int
    patience_ms: int
    tensors: Sequence[CodedTensor]

    def pack(self) -> list[Buffer]:
        return [_REQUEST.pack(self.entry, min(self.patience_ms, _U32)), *pack_tensors(self.tensors)]


def parse_request(payload: Buffer, limit: int) -> Request:
    """The inverse of `Request.pack`. Raises FrameFault; `limit` as in `parse_tensors`."""
    entry, patience = _unpack(_REQUEST, payload, "request")
    return Request(entry, patience, parse_tensors(memoryview(payload)[_REQUEST.size :], limit))


@dataclass(frozen=True)
class Statistics:
    """How loaded the server is; each reply carries it.

    Attributes:
        queued: requests that wait.
        batch: requests that were computed together with this one, itself included.
        waited_us: how long this one waited, in microseconds.
        service_us: how long decoding, computing and encoding took.
    """

    queued: int = 0
    batch: int = 1
    waited_us: int = 0
    service_us: int = 0

    def pack(self) -> bytes:
        return _STATISTICS.pack(
            min(self.queued, _U16), min(self.batch, _U16), min(self.waited_us, _U32), min(self.service_us, _U32)
        )


@dataclass(frozen=True)
class Reply:
    """Outputs of the half in its order, and how loaded the server is."""

    statistics: Statistics
    tensors: Sequence[CodedTensor]

    def pack(self) -> list[Buffer]:
        return [self.statistics.pack(), *pack_tensors(self.tensors)]


def parse_reply(payload: Buffer, limit: int) -> Reply:
    """The inverse of `Reply.pack`. Raises FrameFault; `limit` as in `parse_tensors`."""
    statistics = Statistics(*_unpack(_STATISTICS, payload, "reply"))
    return Reply(statistics, parse_tensors(memoryview(payload)[_STATISTICS.size :], limit))


@dataclass(frozen=True)
class Ready:
    """What the server takes, said at the end of the handshake.

    Attributes:
        frame_bytes: the longest payload.
        tensor_bytes: what the decoded tensors of a request may take.
        in_flight: requests of one connection that it works on at a time.
        workers: requests that it computes at a time.
        entries: server halves that it holds, the whole model included.
    """

    frame_bytes: int
    tensor_bytes: int
    in_flight: int
    workers: int
    entries: int

    def pack(self) -> bytes:
        return _READY.pack(self.frame_bytes, self.tensor_bytes, self.in_flight, self.workers, self.entries)


def parse_ready(payload: Buffer) -> Ready:
    """The inverse of `Ready.pack`. Raises FrameFault."""
    if len(payload) != _READY.size:
        raise FrameFault("the end of the handshake is no such message")
    return Ready(*_READY.unpack(payload))


def pack_busy(retry_ms: int, statistics: Statistics) -> bytes:
    """BUSY: when to ask again, in milliseconds, and how loaded the server is."""
    return _MILLISECONDS.pack(min(max(retry_ms, 0), _U32)) + statistics.pack()


def parse_busy(payload: Buffer) -> tuple[int, Statistics]:
    """The inverse of `pack_busy`. Raises FrameFault."""
    if len(payload) != _MILLISECONDS.size + _STATISTICS.size:
        raise FrameFault("an answer of a busy server is no such message")
    return _MILLISECONDS.unpack_from(payload)[0], Statistics(*_STATISTICS.unpack_from(payload, _MILLISECONDS.size))


def pack_text(text: str) -> bytes:
    """ERROR and GOODBYE: a sentence for the user of the other side."""
    return text.encode()[:MAX_TEXT]


def parse_text(payload: Buffer) -> str:
    """The inverse of `pack_text`: printable characters only, whatever came."""
    text = bytes(payload[:MAX_TEXT]).decode(errors="replace")
    return "".join(character if character.isprintable() else " " for character in text)


def _unpack(layout: struct.Struct, payload: Buffer, what: str) -> tuple[int, ...]:
    if len(payload) < layout.size:
        raise FrameFault(f"a {what} ends too early")
    return layout.unpack_from(payload)
