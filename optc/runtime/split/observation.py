"""What the device knows of the link, the server and itself: the state that a choice between ways rests on."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from optc.runtime.split.messages import Statistics

# How much of an estimate each new sample replaces; of the rate, so much more for every second that it is old.
_RATE, _TIME = 0.3, 0.2
# What of a transfer has to be beyond the RTT, as a share of it and in seconds, to be told from noise.
_LEAST_SHARE, _LEAST_SECONDS = 0.1, 1e-4
# RTT is the median of so many recent pings: what a slow device adds to each exchange belongs to it.
_PINGS = 8


@dataclass(frozen=True)
class Observation:
    """Estimates from what was measured last; None where nothing was yet.

    Attributes:
        connected: whether a request could be sent now.
        bytes_per_second: of the link, mostly upwards.
        rtt_seconds: of the link without a load.
        queued: requests that waited at the server.
        server_wait_seconds: how long requests wait there.
        server_seconds: how long it computes a request, of whichever way was used last.
        device_factor: how many times longer the device computes than predicted.
        age_seconds: since the last measurement of the link.
        last_bytes_per_second: of the link, that measurement alone; it tells of a fall or a rise before the mean does.
        busy: share of the time in which the device has a request to answer; 1: the next one waits already.
    """

    connected: bool = False
    bytes_per_second: float | None = None
    rtt_seconds: float | None = None
    queued: int | None = None
    server_wait_seconds: float | None = None
    server_seconds: float | None = None
    device_factor: float | None = None
    age_seconds: float | None = None
    last_bytes_per_second: float | None = None
    busy: float = 0.0


class Observer:
    """Makes estimates of measurements; called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Observation()
        self._pings: list[float] = []
        self._measured: float | None = None
        self._computing = 0
        self._answered: float | None = None

    @property
    def observation(self) -> Observation:
        """The estimates now."""
        with self._lock:
            age = None if self._measured is None else time.monotonic() - self._measured
            return replace(self._now, age_seconds=age)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """While the device computes, a slow one keeps what comes from the link waiting."""
        with self._lock:
            self._computing += 1
        try:
            yield
        finally:
            with self._lock:
                self._computing -= 1

    @property
    def idle(self) -> bool:
        """Whether the device computes nothing, so that what is measured is the link."""
        return self._computing == 0

    def connection(self, connected: bool) -> None:
        """The link went up or down; a new connection may take another path, so pings count anew."""
        with self._lock:
            if connected and not self._now.connected:
                self._pings.clear()
            self._now = replace(self._now, connected=connected)

    def ping(self, seconds: float, *, alone: bool = True) -> None:
        """A ping without a payload came back; one that was not alone on the link can only show that it is shorter."""
        with self._lock:
            known = self._now.rtt_seconds
            if not alone and known is not None and seconds >= known:
                return
            self._pings = [*self._pings[1 - _PINGS :], seconds]
            self._now = replace(self._now, rtt_seconds=statistics.median(self._pings))

    def transfer(self, size: int, seconds: float, *, alone: bool = True) -> None:
        """So many bytes took so long, whatever the server did meanwhile taken off, the RTT included.

        One that took hardly longer than the RTT, or that was not alone, says no more than that the rate is at least a
        certain one.
        """
        with self._lock:
            rtt = self._now.rtt_seconds or 0.0
            least = max(_LEAST_SHARE * rtt, _LEAST_SECONDS)
            moving = max(seconds - rtt, least)
            rate = size / moving
            before = self._now.bytes_per_second
            now = time.monotonic()
            age = 0.0 if self._measured is None else now - self._measured
            self._measured = now
            if (moving == least or not alone) and before is not None and before >= rate:
                return
            # The harmonic mean: the time of a transfer is what is estimated, and it goes with 1 / rate.
            weight = 1 - (1 - _RATE) ** (1 + age)
            mean = rate if before is None else 1 / ((1 - weight) / before + weight / rate)
            self._now = replace(self._now, bytes_per_second=mean, last_bytes_per_second=rate)

    def reply(self, load: Statistics) -> None:
        """A reply, or that the server is busy, came with these figures."""
        with self._lock:
            now = self._now
            self._now = replace(
                now,
                queued=load.queued,
                server_wait_seconds=_mean(now.server_wait_seconds, load.waited_us / 1e6),
                server_seconds=_mean(now.server_seconds, load.service_us / 1e6),
            )

    def request(self, seconds: float) -> None:
        """A request was answered just now, after so many seconds."""
        now = time.monotonic()
        with self._lock:
            since = None if self._answered is None else max(now - self._answered, 1e-9)
            self._answered = now
            if since is not None:
                self._now = replace(self._now, busy=_mean(self._now.busy, min(seconds / since, 1.0)))

    def device(self, seconds: float, predicted: float) -> None:
        """The device computed for `seconds`, and `predicted` seconds were predicted."""
        if predicted <= 0:
            return
        with self._lock:
            factor = _mean(self._now.device_factor, seconds / predicted)
            self._now = replace(self._now, device_factor=factor)


def _mean(before: float | None, sample: float) -> float:
    return sample if before is None else before + _TIME * (sample - before)
