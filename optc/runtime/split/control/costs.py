"""What a way of answering is predicted to cost under given conditions: seconds and the device's joules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.artifact.split_record import SplitRecord, Way
from optc.targets.link import Link


@dataclass(frozen=True)
class WayCosts:
    """The constants of a way.

    Attributes:
        name: of the way.
        device_seconds: computing and coding on the device, as predicted.
        server_seconds: computing on the server.
        sent_bytes: up the link.
        returned_bytes: down the link.
        device_joules: of computing on the device.
        uses_server: whether anything is sent at all.
        leaves: share of the requests that the device answers by itself after its part, at an exit.
    """

    name: str
    device_seconds: float
    server_seconds: float = 0.0
    sent_bytes: int = 0
    returned_bytes: int = 0
    device_joules: float = 0.0
    uses_server: bool = True
    leaves: float = 0.0


@dataclass(frozen=True)
class Situation:
    """What a prediction is made for.

    Attributes:
        rate: bytes per second up the link.
        rtt: seconds.
        wait: seconds that a request queues at the server.
        device_factor: how many times longer the device computes than predicted.
        server_factor: likewise the server.
        overhead: seconds of an exchange beside all this.
    """

    rate: float
    rtt: float
    wait: float = 0.0
    device_factor: float = 1.0
    server_factor: float = 1.0
    overhead: float = 0.0


@dataclass(frozen=True)
class Preference:
    """What a request should save: a share of 1 for energy, the rest for delay.

    Both are taken relative to what the device needs by itself, as there is no price of a joule in seconds.
    """

    energy: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.energy <= 1.0:
            raise ValueError(f"{self.energy} is no share")

    def of(self, seconds: float, joules: float, base: tuple[float, float]) -> float:
        """The cost of a request; 1 is what `base`, a pair of seconds and joules, costs."""
        delay = (1.0 - self.energy) * seconds / max(base[0], 1e-12)
        return delay + (self.energy * joules / max(base[1], 1e-12) if self.energy else 0.0)


def exchange_seconds(way: WayCosts, link: Link, now: Situation) -> float:
    """From the first byte sent until the last received."""
    if not way.uses_server:
        return 0.0
    return exchange_times(way, link, now, (now.rate,))[0]


def exchange_times(way: WayCosts, link: Link, now: Situation, rates: Sequence[float]) -> list[float]:
    """`exchange_seconds` of a way that uses the server, for other rates."""
    size = way.sent_bytes + way.returned_bytes / (link.downlink / link.uplink)
    served = way.server_seconds * now.server_factor
    return [size / rate + now.overhead + now.rtt + now.wait + served for rate in rates]


def total_seconds(way: WayCosts, link: Link, now: Situation) -> float:
    """From the inputs to the outputs."""
    return way.device_seconds * now.device_factor + exchange_seconds(way, link, now)


def total_joules(way: WayCosts, link: Link, idle_watts: float, now: Situation, waiting: float | None = None) -> float:
    """Of the device: computing, the radio, and idling until the answer is there (`waiting` seconds, where known)."""
    joules = way.device_joules * now.device_factor
    if way.uses_server:
        down = link.downlink / link.uplink
        again = 8.0 / (1.0 - link.loss)
        joules += again * (way.sent_bytes * link.joules_per_bit_up + way.returned_bytes * link.joules_per_bit_down)
        joules += link.active_watts * (way.sent_bytes + way.returned_bytes / down) / now.rate
        joules += idle_watts * (exchange_seconds(way, link, now) if waiting is None else waiting)
    return joules


def ways_of(record: SplitRecord) -> tuple[WayCosts, ...]:
    """The ways of a split model."""
    return tuple(costs_of(way, way.server is not None) for way in record.ways)


def costs_of(way: Way, uses_server: bool) -> WayCosts:
    """The constants of a way."""
    return WayCosts(
        way.name,
        way.predicted.device_seconds,
        way.predicted.server_seconds,
        way.sent_bytes,
        way.returned_bytes,
        way.predicted.device_joules or 0.0,
        uses_server,
        way.predicted.leaves,
    )
