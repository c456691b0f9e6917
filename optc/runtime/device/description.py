"""What is known about a device: its name, how it is reached, and where files go there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optc.errors import UsageError

SSH = "ssh"
RPC = "rpc"
KINDS = (SSH, RPC)

DEFAULT_FOLDER = "/tmp"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# No leading hyphen: ssh would take it for an option.
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9_.-]+)?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9]*=[^\x00\r\n]+")
_TEXT = re.compile(r"[^\x00-\x1f]+")


@dataclass(frozen=True)
class Device:
    """A device that is reached over a network.

    Attributes:
        name: the user's.
        kind: `ssh` or `rpc`.
        host: its name or address.
        port: None for ssh's own choice.
        user: on the device; empty for ssh's own choice.
        key: file with the private key of ssh; empty for ssh's own choice.
        secret: file with the secret that the server of `rpc` knows too.
        folder: under which files are kept there during a measurement (ssh; a server has its own).
        options: further options of ssh, as `ProxyJump=gate`.
        prefix: words before the program's, as an emulator's or `taskset -c 4`.
    """

    name: str
    kind: str
    host: str
    port: int | None = None
    user: str = ""
    key: str = ""
    secret: str = ""
    folder: str = DEFAULT_FOLDER
    options: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """How it is reached, for people: `ssh pi@10.0.0.2:22`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{self.kind} {user}{host}" + (f":{self.port}" if self.port else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, without the name."""
        return {key: value for key, value in asdict(self).items() if key != "name"}


def check(device: Device) -> Device:
    """The device itself.

    Raises:
        UsageError: one of its fields cannot be.
    """
    name = device.name
    if not _NAME.fullmatch(name):
        why = "a name has up to 64 letters, digits, and . _ -, and starts with a letter or digit"
        raise UsageError(f"'{name}' is no name of a device", why=why)
    if device.kind not in KINDS:
        raise UsageError(f"devices of the kind '{device.kind}' are unknown", where=f"device '{name}'")
    where = f"--{device.kind}"
    if not _HOST.fullmatch(device.host):
        raise UsageError(f"'{device.host}' is no name or address of a host", where=where)
    if device.port is not None and not 0 < device.port < 65536:
        raise UsageError(f"{device.port} is no port", where=where, why="ports are 1 to 65535")
    if device.user and not _USER.fullmatch(device.user):
        raise UsageError(f"'{device.user}' is no name of a user", where=where)
    if device.kind == RPC and device.port is None:
        raise UsageError("the server's port is missing", where=where, hint=f"{where} {device.host}:9191")
    if device.kind == RPC and not device.secret:
        why = "the server runs what it is sent, so it asks for a secret"
        raise UsageError("the secret is missing", where=where, why=why, hint="--secret FILE")
    if not device.folder.startswith("/") or not _TEXT.fullmatch(device.folder):
        raise UsageError(f"'{device.folder}' is no folder", where="--folder", why="an absolute path is needed")
    for option in device.options:
        if not _OPTION.fullmatch(option):
            raise UsageError(
                f"'{option}' is no option of ssh", where="--ssh-option", hint="--ssh-option ProxyJump=gate"
            )
    if any(not _TEXT.fullmatch(word) for word in device.prefix):
        raise UsageError("the prefix holds an empty word or a control character", where="--prefix")
    return device


def parse_address(text: str, option: str) -> tuple[str, str, int | None]:
    """`user@host:port` as (user, host, port); user and port may be missing, and an IPv6 address stands in brackets.

    Raises:
        UsageError: it is none; `option` is named.
    """
    user, at, rest = text.rpartition("@")
    found = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?", rest)
    if found is None or (at and not user):
        hint = f"{option} " + ("pi@10.0.0.2:22" if option == "--ssh" else "10.0.0.2:9191")
        raise UsageError(f"'{text}' is no address", where=option, hint=hint)
    port = found["port"]
    return user, found["six"] or found["host"], None if port is None else int(port)


def from_dict(name: str, record: Mapping[str, Any]) -> Device:
    """The inverse of `Device.to_dict`.

    Raises:
        UsageError: a field is unknown, of another type, or cannot be.
    """
    known: dict[str, type | tuple[type, ...]] = {
        "kind": str,
        "host": str,
        "port": (int, type(None)),
        "user": str,
        "key": str,
        "secret": str,
        "folder": str,
        "options": list,
        "prefix": list,
    }
    where = f"device '{name}'"
    for key, value in record.items():
        if key not in known:
            raise UsageError(f"'{key}' is no property of a device", where=where)
        if not isinstance(value, known[key]) or isinstance(value, bool) or not _only_text(value):
            raise UsageError(f"'{key}' has a value of the wrong type", where=where)
    for key in ("kind", "host"):
        if key not in record:
            raise UsageError(f"'{key}' is missing", where=where)
    lists = {key: tuple(record.get(key, ())) for key in ("options", "prefix")}
    return check(Device(name, **{**record, **lists}))


def _only_text(value: object) -> bool:
    return not isinstance(value, Sequence) or all(isinstance(item, str) for item in value)
