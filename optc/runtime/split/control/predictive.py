"""The default controller: the cost model predicts every way under the conditions as they are, and the best is taken."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optc.runtime.split.control.costs import (
    Preference,
    Situation,
    WayCosts,
    exchange_seconds,
    total_joules,
    total_seconds,
    ways_of,
)
from optc.runtime.split.control.estimates import Mean, RateEstimate
from optc.targets.link import Link, link_of

if TYPE_CHECKING:
    from optc.artifact.split_record import SplitRecord
    from optc.runtime.split.client import Report
    from optc.runtime.split.observation import Observation

_LEAST_MOVING = 1e-4  # seconds; what is shorter says nothing about the rate
_SWITCH = 0.97  # another way must be better by this factor, or the old one stays


class ModelPredictive:
    """Takes the way whose predicted cost is least.

    Args:
        ways: to choose from.
        link: what is believed of the link before anything was measured, and what its radio draws.
        idle_watts: what the device draws while it waits.
        preference: between delay and energy.
        caution: standard deviations of the rate by which predictions are pessimistic.
        hedge: standard deviations after which an answer is late: the device then starts by itself, too.
    """

    def __init__(
        self,
        ways: Sequence[WayCosts],
        link: Link,
        idle_watts: float = 0.0,
        *,
        preference: Preference | None = None,
        caution: float = 0.1,
        hedge: float = 1.5,
    ) -> None:
        self.ways = {way.name: way for way in ways}
        self.link = link
        self.idle_watts = idle_watts
        self.preference = preference or Preference()
        self.rate = RateEstimate(link.uplink / 8)
        self._caution = caution
        self._hedge = hedge
        self._rtt = link.rtt
        self._wait = Mean(0.0)
        self._device = Mean(1.0)
        self._server = Mean(1.0)
        self._last: str | None = None
        self._seen: float | None = None
        self._lock = threading.Lock()
        self.local = next((way for way in ways if not way.uses_server), None)

    @staticmethod
    def of_record(record: SplitRecord, **options: float | Preference) -> ModelPredictive:
        """For a split model as it was built; `options` as for the constructor."""
        return ModelPredictive(ways_of(record), link_of(record.link), record.idle_watts, **options)  # type: ignore[arg-type]

    def choose(self, observation: Observation) -> str:
        """See `Chooser`."""
        with self._lock:
            self._observe(observation)
            names = [name for name, way in self.ways.items() if observation.connected or not way.uses_server]
            names = names or list(self.ways)
            costs = self.costs(observation)
            best = min(names, key=costs.__getitem__)
            if self._last in names and costs[best] > _SWITCH * costs[self._last]:
                best = self._last
            self._last = best
            return best

    def costs(self, observation: Observation) -> dict[str, float]:
        """The predicted cost of each way; what the device needs by itself is 1."""
        now = self.situation(observation)
        alone = self.local or next(iter(self.ways.values()))
        base = total_seconds(alone, self.link, now), total_joules(alone, self.link, self.idle_watts, now)
        return {
            name: self.preference.of(
                total_seconds(way, self.link, now), total_joules(way, self.link, self.idle_watts, now), base
            )
            for name, way in self.ways.items()
        }

    def situation(self, observation: Observation, caution: float | None = None) -> Situation:
        """What is believed now, pessimistic by so many standard deviations of the rate."""
        caution = self._caution if caution is None else caution
        return Situation(
            rate=self.rate.rate(caution, observation.age_seconds or 0.0),
            rtt=self._rtt,
            wait=self._wait.value,
            device_factor=self._device.value,
            server_factor=self._server.value,
        )

    def hedge_seconds(self, name: str, observation: Observation) -> float:
        """How long after sending the device should start to compute everything by itself; infinite for never.

        That is when the answer is late by what the rate is known to vary. To start much before would spend energy on
        answers that come; to wait longer would make late answers later. Where energy counts, more patience is due.
        """
        way = self.ways[name]
        if self.local is None or not way.uses_server or self.preference.energy >= 1.0:
            return math.inf
        with self._lock:
            late = exchange_seconds(way, self.link, self.situation(observation, self._hedge))
        return late / (1.0 - self.preference.energy)

    def learn(self, report: Report, observation: Observation) -> None:
        """See `Chooser`."""
        way = self.ways.get(report.wanted)
        if way is None:
            return
        with self._lock:
            if report.device_seconds > 0 and report.way == report.wanted and way.device_seconds > 0:
                spent = report.device_seconds + report.encode_seconds
                self._device.add(spent / way.device_seconds)
            if report.server is not None:
                waited, served = report.server.waited_us / 1e6, report.server.service_us / 1e6
                self._wait.add(waited)
                if way.server_seconds > 0:
                    self._server.add(served / way.server_seconds)
                moving = report.exchange_seconds - waited - served - self._rtt
                size = report.sent_bytes + report.received_bytes * self.link.uplink / self.link.downlink
                if moving > _LEAST_MOVING and moving > 0.1 * self._rtt:
                    self._sample(size / moving)
            elif report.exchange_seconds > 0:
                late = report.exchange_seconds - self._rtt
                if late > _LEAST_MOVING:
                    self.rate.at_most(way.sent_bytes / late)

    def _observe(self, observation: Observation) -> None:
        """Take over what the link measured by itself: its distance, and its rate where no request told it."""
        if observation.rtt_seconds is not None:
            self._rtt = observation.rtt_seconds
        rate = observation.bytes_per_second
        if rate is not None and rate != self._seen:
            self._seen = rate
            if observation.age_seconds is not None and self._last is not None:
                last = self.ways[self._last]
                if not last.uses_server:
                    self.rate.add(rate)

    def _sample(self, rate: float) -> None:
        self.rate.add(rate)
