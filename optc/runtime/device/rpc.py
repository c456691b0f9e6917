"""A device that runs optc's own server (`programs/device_server.c`): a program of the board's without dependencies.

A frame is one byte that says its kind, eight bytes with the length of what follows (little endian), and that. The
server greets with a random number, and the client proves with HMAC-SHA256 that it knows the secret; nothing is
encrypted.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from optc.errors import OptcError
from optc.runtime.device.description import Device
from optc.runtime.device.session import (
    Facts,
    Finished,
    lost,
    not_read,
    not_written,
    refused,
    too_long,
    unreachable,
)

GREETING = b"optc-device-1\n"
LEAST_SECRET = 16  # bytes
_NONCE = 32
_CONNECT_SECONDS = 10.0
_SHORT = 20.0  # seconds without a byte, after which the device is given up
_LEAVING_SECONDS = 3.0  # that a session which ended may need to go
_GRACE = 5.0  # seconds that the server has to stop a program which takes too long
_CHUNK = 1 << 20
_MOST = 1 << 36
_HEADER = struct.Struct("<cQ")
_RUNNING = "running the model"


class RpcSession:
    """One connection; the server has a folder for it and removes that when it ends."""

    def __init__(self, device: Device) -> None:
        """Connect and prove who we are. Raises DeviceLost, OptcError."""
        self._device = device
        secret = read_secret(Path(device.secret))
        end = time.monotonic() + _LEAVING_SECONDS
        while (facts := self._connect(secret)) is None:
            if time.monotonic() > end:
                raise refused(device, "another client is measuring there", "try again when that is done")
            time.sleep(0.1)
        self.facts = facts

    def _connect(self, secret: bytes) -> Facts | None:
        """None where the server is busy."""
        device = self._device
        try:
            self._socket = socket.create_connection((device.host, device.port or 0), _CONNECT_SECONDS)
        except OSError as fault:
            raise unreachable(device, fault.strerror or str(fault)) from fault
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            facts = self._introduce(secret)
        except BaseException:
            self.close()
            raise
        if facts is None:
            self.close()
        return facts

    def put(self, name: str, content: bytes | Path, *, executable: bool = False) -> None:
        encoded = name.encode()
        head = struct.pack("<BB", executable, len(encoded)) + encoded
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        kind, said = self._ask(b"P", len(head) + size, [head, *_chunks(content)], f"sending '{name}'")
        if kind != b"K":
            raise not_written(self._device, name, _text(said))

    def get(self, name: str) -> bytes:
        encoded = name.encode()
        kind, said = self._ask(b"G", len(encoded), [encoded], f"fetching '{name}'")
        if kind != b"K":
            raise not_read(self._device, name, _text(said))
        return said

    def run(self, words: Sequence[str], seconds: float) -> Finished:
        content = struct.pack("<I", max(1, round(1000 * seconds))) + b"".join(word.encode() + b"\0" for word in words)
        kind, said = self._ask(b"R", len(content), [content], _RUNNING, seconds + _GRACE)
        if kind == b"T":
            raise too_long(self._device, seconds)
        if kind != b"K" or len(said) < 12:
            raise OptcError(f"the device '{self._device.name}' runs nothing", where=self._device.place, why=_text(said))
        code, length = struct.unpack_from("<iQ", said)
        return Finished(code, _text(said[12 : 12 + length]), _text(said[12 + length :]))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def _introduce(self, secret: bytes) -> Facts | None:
        doing = "connecting"
        greeting = self._receive(len(GREETING) + _NONCE, doing, _CONNECT_SECONDS)
        if not greeting.startswith(GREETING):
            raise refused(self._device, "what answers there is no server of optc", "check the port")
        proof = hmac.new(secret, greeting, hashlib.sha256).digest()
        kind, said = self._ask(b"H", len(proof), [proof], doing)
        words = _text(said).split()
        if kind == b"B":
            return None
        if kind != b"K" or len(words) != 3 or not words[2].isdigit():
            raise refused(self._device, _text(said), "give both sides the same file with --secret")
        return Facts(words[0], words[1], int(words[2]))

    def _ask(
        self, kind: bytes, size: int, content: Iterable[bytes], doing: str, seconds: float = _SHORT
    ) -> tuple[bytes, bytes]:
        """Send a frame and return kind and content of the answer."""
        try:
            self._socket.settimeout(_SHORT)
            self._socket.sendall(_HEADER.pack(kind, size))
            for piece in content:
                self._socket.sendall(piece)
        except OSError as fault:
            raise lost(self._device, doing, fault.strerror or str(fault)) from fault
        answer, length = _HEADER.unpack(self._receive(_HEADER.size, doing, seconds))
        if length > _MOST:
            raise lost(self._device, doing, "it answers with nonsense")
        return answer, self._receive(length, doing, _SHORT)

    def _receive(self, size: int, doing: str, seconds: float) -> bytes:
        content = bytearray()
        try:
            self._socket.settimeout(seconds)
            while len(content) < size:
                piece = self._socket.recv(min(_CHUNK, size - len(content)))
                if not piece:
                    raise lost(self._device, doing, "it closed the connection")
                content += piece
        except TimeoutError as fault:
            raise lost(self._device, doing, f"no answer within {seconds:g} s") from fault
        except OSError as fault:
            raise lost(self._device, doing, fault.strerror or str(fault)) from fault
        return bytes(content)


def read_secret(path: Path) -> bytes:
    """The secret in a file, without white space around it.

    Raises:
        OptcError: the file cannot be read, or holds too little.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as fault:
        raise OptcError("the secret cannot be read", where=str(path), why=fault.strerror) from fault
    if len(secret) < LEAST_SECRET:
        why = f"it has {len(secret)} bytes, and at least {LEAST_SECRET} are needed"
        hint = f"head -c 32 /dev/urandom | base64 > {path}"
        raise OptcError("the secret is too short", where=str(path), why=why, hint=hint)
    return secret


def _chunks(content: bytes | Path) -> Iterable[bytes]:
    if isinstance(content, bytes):
        return [content]
    return _file_chunks(content)


def _file_chunks(path: Path) -> Iterable[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _text(content: bytes) -> str:
    return content.decode(errors="replace").strip()
