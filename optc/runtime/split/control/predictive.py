"""The default controller: the cost model predicts every way for the conditions as they are, and the best is taken.

The rate of the link is a distribution, and so is the time of an answer. An answer that is late is not waited for: the
device then computes by itself, too, so that the worst of a way that asks the server is bounded, and trying it is worth
more when the rate is uncertain. When an answer counts as late is part of the prediction: what is best on average. On a
link that jumps between an outage and full speed both sides may begin at once, which bounds the regret against either.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from optc.runtime.split.control.costs import (
    Preference,
    Situation,
    WayCosts,
    exchange_times,
    total_joules,
    total_seconds,
    ways_of,
)
from optc.runtime.split.control.estimates import Mean, RateEstimate, TransferEstimate
from optc.targets.link import Link, link_of

if TYPE_CHECKING:
    from optc.artifact.split_record import SplitRecord
    from optc.runtime.split.client import Report
    from optc.runtime.split.observation import Observation

# The middles of seven equally probable parts of the normal distribution.
_PARTS = (-1.465, -0.792, -0.366, 0.0, 0.366, 0.792, 1.465)
# Shares of the time that an answer is expected to take, at which the device may start to compute by itself, too.
_EARLY = (0.75, 0.5, 0.25, 0.0)
_WASTE = 0.02  # of what the device needs by itself: what computing in vain must gain
_TRIES = 0.02  # of the device's own time, with each request: what tries may cost
_HOPE, _GAIN = 1.5, 0.9  # standard deviations of the rate, and what a way would then have to be better by, to try it
_LOSSES = 3  # late answers in a row, after which nothing is stayed with
_LEAST_MOVING = 1e-4  # seconds; what is shorter says nothing about the rate
_SLOWLY, _WRONG = 0.2, 0.7  # how fast predictions are corrected way by way, and at most by how much (a logarithm)
_LEAVING = 0.05  # of the share of requests that leave at a way's exit, for each request
_SWITCH = 0.97  # another way must be better by this factor, or the old one stays


class ModelPredictive:
    """Takes the way whose predicted cost is least.

    Args:
        ways: to choose from.
        link: what is believed of the link before anything was measured, and what its radio draws.
        idle_watts: what the device draws while it waits.
        preference: between delay and energy.
        caution: standard deviations of the rate by which predictions are pessimistic.
        hedge: whether the device starts to compute by itself when an answer is late, or before, when that is worth it.
    """

    def __init__(
        self,
        ways: Sequence[WayCosts],
        link: Link,
        idle_watts: float = 0.0,
        *,
        preference: Preference | None = None,
        caution: float = 0.0,
        hedge: bool = True,
    ) -> None:
        self.ways = {way.name: way for way in ways}
        self.link = link
        self.idle_watts = idle_watts
        self.preference = preference or Preference()
        self.transfers = TransferEstimate(link.uplink / 8)
        self._caution = caution
        self._hedge = hedge
        self._rtt = link.rtt
        self._wait = Mean(0.0)
        self._around = Mean(0.0)  # what the device needs beside an exchange: threads that wake up, frames, seals
        self._device = Mean(1.0)
        self._computed_last: str | None = None
        self._foreseen: tuple[Observation, dict[str, tuple[float, float]]] | None = None
        self._stated = dict(self.ways)
        self._wrong = {way.name: Mean(0.0, _SLOWLY) for way in ways}  # logarithms, beside what is common to all ways
        self._server = Mean(1.0)
        self._last: str | None = None
        self._seen: float | None = None
        self._told = False
        self._lost = 0
        self._trying: str | None = None
        self._allowance = 1.0
        self._lock = threading.Lock()
        self._leaves = {way.name: Mean(way.leaves, _LEAVING) for way in ways if way.leaves}
        self.local = next((way for way in ways if not way.uses_server), None)

    @property
    def rate(self) -> RateEstimate:
        """Of the link."""
        return self.transfers.held

    @staticmethod
    def of_record(record: SplitRecord, **options: float | bool | Preference) -> ModelPredictive:
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
            if self._last in names and self._lost < _LOSSES and costs[best] > _SWITCH * costs[self._last]:
                best = self._last
            self._last = best
            self._trying = None
            if observation.connected and self.local is not None and not self.ways[best].uses_server:
                self._allowance = min(self._allowance + _TRIES, 1.0)
                self._trying = self._worth_trying(observation)
            return self._trying or best

    def _worth_trying(self, observation: Observation) -> str | None:
        """A way with a server that may be better than is believed, and that costs little if it is not.

        Who computes everything on the device learns nothing of exchanges. What such tries cost beyond that is bounded
        by an allowance: a share of the device's own time, thanks to the hedge.
        """
        assert self.local is not None
        now = self.situation(observation, -_HOPE)
        hoped = replace(now, overhead=self._around.value)
        own = self.local.device_seconds * now.device_factor
        base = own, total_joules(self.local, self.link, self.idle_watts, now)
        expected = self._expected(observation)
        found, least = None, _GAIN * expected[self.local.name][0]
        for name, way in self.ways.items():
            late = expected[name][1]
            if not way.uses_server or way.device_seconds * now.device_factor + late > self._allowance * own:
                continue
            joules = total_joules(way, self.link, self.idle_watts, hoped)
            cost = self.preference.of(total_seconds(way, self.link, hoped), joules, base)
            if cost < least:
                found, least = name, cost
        return found

    def costs(self, observation: Observation) -> dict[str, float]:
        """The expected cost of each way; what the device needs by itself is 1."""
        return {name: cost for name, (cost, _) in self._expected(observation).items()}

    def _expected(self, observation: Observation) -> dict[str, tuple[float, float]]:
        """For each way its expected cost, and the seconds after sending when its answer is late."""
        # A slow device should not work out the same thing for the choice and for the hedge.
        if self._foreseen is None or self._foreseen[0] is not observation:
            self._foreseen = observation, self._foresee(observation)
        return self._foreseen[1]

    def _foresee(self, observation: Observation) -> dict[str, tuple[float, float]]:
        middle = self.situation(observation)
        spread = self.rate.spread(observation.age_seconds or 0.0)
        alone = self.local or next(iter(self.ways.values()))
        base = total_seconds(alone, self.link, middle), total_joules(alone, self.link, self.idle_watts, middle)
        rates = [middle.rate * math.exp(part * spread) for part in _PARTS]
        found = {}
        for name, way in self.ways.items():
            if not way.uses_server:
                seconds, joules = way.device_seconds * middle.device_factor, way.device_joules * middle.device_factor
                found[name] = (self.preference.of(seconds, joules, base), math.inf)
                continue
            times = exchange_times(way, self.link, middle, rates)
            energies: list[float] = []
            if self.preference.energy:
                cases = [replace(middle, rate=rate) for rate in rates]
                energies = [total_joules(way, self.link, self.idle_watts, case, waiting=0.0) for case in cases]
            begin = way.device_seconds * middle.device_factor
            cost, late = self._least(begin, times, energies, middle, base, observation.busy)
            if name in self._leaves:
                share = self._leaves[name].value
                own = self.preference.of(begin, way.device_joules * middle.device_factor, base)
                cost = share * own + (1 - share) * cost
            found[name] = (cost, late)
        return found

    def _lates(self, times: Sequence[float]) -> list[float]:
        """When an answer may count as late, what is preferred first; `times` are what it may take, slowest first."""
        if not self._hedge or self.local is None:
            return [math.inf]
        expected = times[len(times) // 2]
        return [*times[: len(times) // 2 + 1], *(share * expected for share in _EARLY), math.inf]

    def _least(
        self,
        begin: float,
        times: Sequence[float],
        energies: Sequence[float],
        now: Situation,
        base: tuple[float, float],
        busy: float,
    ) -> tuple[float, float]:
        """The least expected cost, and when the answer is late then; an earlier time must be worth what it wastes."""
        found = math.inf, math.inf
        chosen = math.inf
        own = math.inf if self.local is None else self.local.device_seconds * now.device_factor
        count = len(times)
        for late in self._lates(times):
            # Plain loops: this is what a slow device decides with, for every request.
            done = late + own
            total = vain = 0.0
            after = 0
            for time in times:
                if time > late:
                    after += 1
                    if time > done:
                        time = done
                    else:
                        vain += done - time
                total += time
            if self.preference.energy:
                cost = self._cost_with(begin, times, energies, late, now, base)
            else:
                cost = self.preference.of(begin + total / count, 0.0, base)
            # What the device computes in vain: the share of the answers that come after all.
            taxed = cost + _WASTE * after / count
            if busy and late < math.inf:
                # A run that nobody waits for any more keeps the next request waiting, if there is one already.
                taxed += self.preference.of(busy * vain / count, 0.0, base)
            if taxed < chosen:
                found, chosen = (taxed, late), taxed
        return found

    def _cost_with(
        self,
        begin: float,
        times: Sequence[float],
        energies: Sequence[float],
        late: float,
        now: Situation,
        base: tuple[float, float],
    ) -> float:
        """The expected cost of a way whose answers take `times`, when the device helps itself after `late` seconds."""
        local = self.local
        own = math.inf if local is None else local.device_seconds * now.device_factor
        total = 0.0
        for time, joules in zip(times, energies, strict=True):
            spent = min(time, late + own)
            energy = joules + self.idle_watts * spent
            if local is not None and time > late:
                energy += local.device_joules * now.device_factor * (spent - late) / max(own, 1e-12)
            total += self.preference.of(begin + spent, energy, base)
        return total / len(times)

    def situation(self, observation: Observation, caution: float | None = None) -> Situation:
        """What is believed now, pessimistic by so many standard deviations of the rate."""
        caution = self._caution if caution is None else caution
        return Situation(
            rate=self.rate.rate(caution, observation.age_seconds or 0.0),
            rtt=self._rtt,
            wait=self._wait.value,
            device_factor=self._device.value,
            server_factor=self._server.value,
            overhead=self.transfers.overhead + self._around.value,
        )

    def hedge_seconds(self, name: str, observation: Observation) -> float:
        """How long after sending the device should start to compute everything by itself; infinite for never."""
        with self._lock:
            return self._expected(observation)[name][1]

    def learn(self, report: Report, observation: Observation) -> None:
        """See `Chooser`."""
        way = self.ways.get(report.wanted)
        if way is None:
            return
        with self._lock:
            self._foreseen = None
            if way.uses_server and report.wanted == self._trying and self.local is not None:
                own = self.local.device_seconds * self._device.value
                self._allowance -= max(report.seconds / max(own, 1e-12) - 1.0, 0.0)
            if report.wanted in self._leaves:
                self._leaves[report.wanted].add(float(report.left))
            if way.uses_server and not report.left:
                self._lost = 0 if report.server is not None else self._lost + 1
            if report.device_seconds > 0 and report.way == report.wanted and way.device_seconds > 0:
                self._computed(way.name, report.device_seconds + report.encode_seconds)
            if report.server is not None:
                waited, served = report.server.waited_us / 1e6, report.server.service_us / 1e6
                self._wait.add(waited)
                if way.server_seconds > 0:
                    self._server.add(served / way.server_seconds)
                linked = report.link_seconds or report.exchange_seconds
                self._around.add(max(report.exchange_seconds - linked, 0.0))
                moving = linked - waited - served - self._rtt
                size = report.sent_bytes + report.received_bytes * self.link.uplink / self.link.downlink
                if moving > _LEAST_MOVING and moving > 0.1 * self._rtt:
                    # The link will report the same measurement.
                    self.transfers.exchange(size, moving)
                    self._told = True
            elif report.exchange_seconds > 0 and not report.left:
                late = report.exchange_seconds - self._around.value - self._rtt
                if late > _LEAST_MOVING:
                    self.transfers.at_most(way.sent_bytes, late)

    def _computed(self, name: str, seconds: float) -> None:
        """The device's part of a way took so long: how slow the device is now, and how wrong the cost model is there.

        The first changes quickly and for all ways. The second is learned slowly, for this way alone, and from what
        another way took just before: one way cannot tell the two apart.
        """
        stated, wrong = self._stated[name], self._wrong[name]
        sample, factor = seconds / stated.device_seconds, self._device.value
        if self._computed_last not in (None, name):
            wrong.add(min(max(math.log(sample / factor), -_WRONG), _WRONG))
        self._computed_last = name
        self._device.add(sample / math.exp(wrong.value))
        self.ways[name] = replace(stated, device_seconds=stated.device_seconds * math.exp(wrong.value))
        if not stated.uses_server:
            self.local = self.ways[name]

    def _observe(self, observation: Observation) -> None:
        """Take over what the link measured by itself: its distance, and its rate where no request told it."""
        if observation.rtt_seconds is not None and observation.rtt_seconds != self._rtt:
            self._rtt, self._foreseen = observation.rtt_seconds, None
        rate = observation.last_bytes_per_second
        if rate is not None and rate != self._seen:
            self._seen = rate
            self._foreseen = None
            if not self._told:
                self.transfers.probe(rate)
        self._told = False
