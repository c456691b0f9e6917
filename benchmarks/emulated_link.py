"""A link between two network namespaces, with rate, delay, loss and cuts, without `tc netem`.

Each namespace gets a TUN device. A process takes the IP packets out of either device, keeps each of them as long as a
link of this rate and delay would, drops what the link loses or its queue has no place for, and puts the rest into the
other device. The kernel's own TCP runs on both ends, so losses and cuts have the consequences that they have on a real
link. Needs root, `ip` and /dev/net/tun.

    with EmulatedLink(Shape(up=5e6, down=20e6, delay=0.02, loss=0.001)) as link:
        subprocess.run([*link.inside("server"), "optc", "serve", …])
        link.shape(Shape(cut=True))
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

SIDES = ("device", "server")
ADDRESS = {"device": "10.77.0.1", "server": "10.77.0.2"}
MTU = 1500

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Shape:
    """What the link is like.

    Attributes:
        up: bits a second from the device to the server.
        down: bits a second back.
        delay: seconds from one end to the other, beside the time that the rate takes.
        loss: the share of packets that get lost.
        queue: bytes that wait for the rate in each direction; what does not fit is dropped.
        cut: nothing gets through.
        trace: (seconds, bits a second) pairs that take the place of `up`, in rounds, from when the shape is set.
    """

    up: float = 1e9
    down: float = 1e9
    delay: float = 0.0
    loss: float = 0.0
    queue: int = 256 << 10
    cut: bool = False
    trace: Sequence[tuple[float, float]] = ()


def obstacle() -> str | None:
    """Why there can be no emulated link on this machine; None where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None or not os.path.exists("/dev/net/tun"):
        return "there is no `ip` or no /dev/net/tun"
    name = f"optc-try-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


class EmulatedLink:
    """Two namespaces, `device` and `server`, with the addresses in `ADDRESS`; a context manager.

    Args:
        shape: what the link is like at first.
    """

    def __init__(self, shape: Shape) -> None:
        self._first = shape
        self._names = {side: f"optc-{side}-{os.getpid()}" for side in SIDES}

    def __enter__(self) -> EmulatedLink:
        tuns = [_open_tun(f"optc{side[0]}{os.getpid()}") for side in SIDES]
        try:
            for side, (_, tun) in zip(SIDES, tuns, strict=True):
                name = self._names[side]
                _ip("netns", "add", name)
                _ip("link", "set", tun, "netns", name)
                _ip("-n", name, "addr", "add", f"{ADDRESS[side]}/30", "dev", tun)
                _ip("-n", name, "link", "set", tun, "up", "mtu", str(MTU))
                _ip("-n", name, "link", "set", "lo", "up")
            numbers = [fd for fd, _ in tuns]
            command = [sys.executable, __file__, *map(str, numbers)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=numbers, text=True)
        except BaseException:
            self._delete()
            raise
        finally:
            for fd, _ in tuns:
                os.close(fd)
        self.shape(self._first)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._delete()

    def shape(self, shape: Shape) -> None:
        """Make the link like this from now on; packets under way are not touched."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(shape)) + "\n")
        self._process.stdin.flush()

    def inside(self, side: str) -> list[str]:
        """What to put before a command so that it runs in a namespace."""
        return ["ip", "netns", "exec", self._names[side]]

    def enter(self, side: str) -> None:
        """Move the calling thread, and those that it starts from now on, into a namespace."""
        with open(f"/run/netns/{self._names[side]}") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "the thread cannot enter the namespace")

    def _delete(self) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _open_tun(name: str) -> tuple[int, str]:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    os.set_blocking(fd, False)
    return fd, name


class _Direction:
    """Packets from one device to the other."""

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        self.free = 0.0  # when the rate lets the next packet begin

    def admit(self, size: int, rate: float, queue: int, now: float) -> float | None:
        """When a packet that comes now has been sent; None when the queue has no place for it."""
        begin = max(now, self.free)
        if (begin - now) * rate / 8 + size > queue:
            return None
        self.free = begin + size * 8 / rate
        return self.free


class _Forwarder:
    """The process between the devices."""

    def __init__(self, device: int, server: int) -> None:
        self.up = _Direction(device, server)
        self.down = _Direction(server, device)
        self.shape: dict[str, Any] = asdict(Shape())
        self.since = time.monotonic()
        self.due: list[tuple[float, int, int, bytes]] = []
        self.count = 0
        self.random = random.Random(0)

    def run(self, control: int) -> None:
        sources = {self.up.source: self.up, self.down.source: self.down}
        text = b""
        while True:
            wait = max(self.due[0][0] - time.monotonic(), 0.0) if self.due else None
            ready, _, _ = select.select([control, *sources], [], [], wait)
            if control in ready:
                data = os.read(control, 1 << 20)
                if not data:
                    return
                text += data
                *lines, text = text.split(b"\n")
                for line in lines:
                    self.shape, self.since = json.loads(line), time.monotonic()
            for fd in ready:
                if fd in sources:
                    self.take(sources[fd])
            self.deliver()

    def take(self, direction: _Direction) -> None:
        for _ in range(64):
            try:
                packet = os.read(direction.source, 1 << 16)
            except BlockingIOError:
                return
            now = time.monotonic()
            if self.shape["cut"] or self.random.random() < self.shape["loss"]:
                continue
            sent = direction.admit(len(packet), self.rate(direction, now), self.shape["queue"], now)
            if sent is not None:
                self.count += 1
                heapq.heappush(self.due, (sent + self.shape["delay"], self.count, direction.sink, packet))

    def rate(self, direction: _Direction, now: float) -> float:
        if direction is self.down:
            return self.shape["down"]
        trace = self.shape["trace"]
        if not trace:
            return self.shape["up"]
        at = (now - self.since) % trace[-1][0]
        # A trace says what the rate is until its time.
        return max(next(rate for end, rate in trace if at <= end), 1e3)

    def deliver(self) -> None:
        while self.due and self.due[0][0] <= time.monotonic():
            _, _, sink, packet = heapq.heappop(self.due)
            try:
                os.write(sink, packet)
            except OSError:
                pass  # the device is down or its queue is full: the packet is lost


def main() -> None:
    parser = argparse.ArgumentParser(description="Forward packets between two TUN devices (internal).")
    parser.add_argument("device", type=int)
    parser.add_argument("server", type=int)
    arguments = parser.parse_args()
    _Forwarder(arguments.device, arguments.server).run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
