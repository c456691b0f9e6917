"""What a connection to a device can do, whatever carries it, and how it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from optc.errors import OptcError
from optc.runtime.device.description import SSH, Device


class DeviceLost(OptcError):
    """The device cannot be reached, or vanished: another attempt may help."""


class TooLong(OptcError):
    """A program was stopped on the device, since it took longer than it may."""


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        code: its exit code; 128 and the signal's number where a signal ended it.
        output, errors: what it printed.
    """

    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Facts:
    """What a device says of itself: `uname -s`, `uname -m`, and the CPUs that a program may use there."""

    system: str
    machine: str
    cpus: int


class Session(Protocol):
    """A connection with a folder of its own on the device, which goes with the connection."""

    @property
    def facts(self) -> Facts:
        """Of the device."""

    def put(self, name: str, content: bytes | Path, *, executable: bool = False) -> None:
        """Write a file into the folder: these bytes, or those of a file here. Raises DeviceLost, OptcError."""

    def get(self, name: str) -> bytes:
        """The content of a file of the folder. Raises DeviceLost, OptcError."""

    def run(self, words: Sequence[str], seconds: float) -> Finished:
        """Run a program in the folder. Raises DeviceLost; TooLong when it takes longer than `seconds`."""

    def close(self) -> None:
        """Remove the folder and end the connection; never raises."""


def open_session(device: Device) -> Session:
    """Connect.

    Raises:
        DeviceLost: it does not answer.
        OptcError: it refuses.
    """
    if device.kind == SSH:
        from optc.runtime.device.ssh import SshSession

        return SshSession(device)
    from optc.runtime.device.rpc import RpcSession

    return RpcSession(device)


def lost(device: Device, doing: str, why: str) -> DeviceLost:
    """The device was there, and is not any more."""
    hint = f"check its power and network, then: optc device check {device.name}"
    return DeviceLost(f"the device '{device.name}' was lost while {doing}", where=device.place, why=why, hint=hint)


def unreachable(device: Device, why: str, hint: str | None = None) -> DeviceLost:
    """The device does not answer."""
    hint = hint or "check that it is switched on and that address and port are right"
    return DeviceLost(f"the device '{device.name}' cannot be reached", where=device.place, why=why, hint=hint)


def refused(device: Device, why: str, hint: str | None = None) -> OptcError:
    """The device answers, and does not let us in."""
    return OptcError(f"the device '{device.name}' refuses the connection", where=device.place, why=why, hint=hint)


def too_long(device: Device, seconds: float) -> TooLong:
    """A program was stopped."""
    what = f"the device '{device.name}' did not finish within {seconds:g} s"
    hint = "give it longer with --timeout, or look whether something else runs there"
    return TooLong(what, where=device.place, why="the program was stopped there", hint=hint)


def not_written(device: Device, name: str, why: str) -> OptcError:
    """A file found no place there."""
    hint = "free some space there, or choose another folder with --folder"
    return OptcError(
        f"'{name}' cannot be written on the device '{device.name}'", where=device.place, why=why, hint=hint
    )


def not_read(device: Device, name: str, why: str) -> OptcError:
    """A file is not there."""
    return OptcError(f"'{name}' cannot be read from the device '{device.name}'", where=device.place, why=why)
