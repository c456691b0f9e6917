"""Requests over a recorded link: what each policy would have answered, when, and for how much energy.

The policies are those of the runtime. They see what the runtime would let them see: requests that they sent, and probes
of the link when they sent none. Requests are issued at the same moments whatever the policy and however long an answer
takes, or a policy that is slow in bad times would be asked less often then; they do not contend with one another.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from optc.driver.split.traces import Trace
from optc.runtime.split.client import Fixed, Report
from optc.runtime.split.control.costs import (
    Preference,
    Situation,
    WayCosts,
    total_joules,
    total_seconds,
)
from optc.runtime.split.messages import Statistics
from optc.runtime.split.observation import Observation
from optc.targets.link import Link

PROBE = 1.0
"""Seconds without a request over the link after which its rate is probed."""

_WAKING = 1.0
_PROBE_SECONDS = 0.05  # that a probe occupies the link, about
_GAIN = 0.3  # of the link's own running estimate
_GOLDEN = (math.sqrt(5) - 1) / 2


class Policy(Protocol):
    """What the runtime calls a chooser; `hedge_seconds` is optional."""

    def choose(self, observation: Observation) -> str: ...

    def learn(self, report: Report, observation: Observation) -> None: ...


@dataclass(frozen=True)
class World:
    """What requests meet.

    Attributes:
        trace: of the way up; the way down is as many times faster as the link states.
        ways: that were built.
        link: what is stated of it: the RTT where the trace has none, and the radio's energy.
        idle_watts: of the device.
        device_factor: how many times slower the device is than predicted.
        server_wait: seconds that requests queue at the server.
        jitter: standard deviation of the logarithm of computing times.
        overhead: seconds of every exchange that pings and probes do not show: a slow device wakes up, frames and seals.
        waking: further seconds of the exchanges that begin in the first second.
    """

    trace: Trace
    ways: tuple[WayCosts, ...]
    link: Link
    idle_watts: float = 0.0
    device_factor: float = 1.0
    server_wait: float = 0.0
    jitter: float = 0.0
    overhead: float = 0.0
    waking: float = 0.0

    def way(self, name: str) -> WayCosts:
        """The way called `name`."""
        return next(way for way in self.ways if way.name == name)

    @property
    def local(self) -> WayCosts | None:
        """The way that needs no server."""
        return next((way for way in self.ways if not way.uses_server), None)

    def rtt(self, time: float) -> float:
        """Seconds."""
        recorded = self.trace.rtt_at(time)
        return self.link.rtt if recorded is None else recorded

    def exchange(self, way: WayCosts, start: float) -> float:
        """Seconds from the first byte sent at `start` until the answer is there."""
        rtt = self.rtt(start)
        sent = self.trace.transfer_end(start + rtt / 2, way.sent_bytes)
        served = sent + self.server_wait + way.server_seconds
        down = self.link.uplink / self.link.downlink
        fixed = self.overhead + (self.waking if start < _WAKING else 0.0)
        return self.trace.transfer_end(served, way.returned_bytes * down) + rtt / 2 - start + fixed


@dataclass(frozen=True)
class Outcome:
    """One request: when it was issued, how long it took, what it cost the device, and who answered."""

    time: float
    seconds: float
    joules: float
    way: str


@dataclass
class Run:
    """All requests of one policy over a trace."""

    name: str
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def latencies(self) -> np.ndarray:
        """Seconds of each request."""
        return np.array([each.seconds for each in self.outcomes])

    @property
    def median(self) -> float:
        """Of the latencies, in seconds."""
        return float(np.median(self.latencies))

    @property
    def mean(self) -> float:
        """Of the latencies, in seconds."""
        return float(np.mean(self.latencies))

    @property
    def p95(self) -> float:
        """The latency that one request in twenty exceeds."""
        return float(np.quantile(self.latencies, 0.95))

    @property
    def joules(self) -> float:
        """Mean of the device's energy for a request."""
        return float(np.mean([each.joules for each in self.outcomes]))

    @property
    def ways_text(self) -> str:
        """Who answered how often."""
        counted = Counter(each.way for each in self.outcomes)
        return ", ".join(f"{name} {count}" for name, count in counted.most_common())


def simulate(world: World, policy: Policy, name: str, *, period: float, requests: int, seed: int = 0) -> Run:
    """Let a policy answer requests.

    Args:
        world: the trace and the ways.
        policy: decides.
        name: of the run.
        period: seconds between requests.
        requests: how many.
        seed: of the jitter of computing times.
    """
    generator = np.random.default_rng(seed)
    seen = _Seen(world)
    run = Run(name)
    pending: list[tuple[float, int, Report, Observation]] = []
    for number in range(requests):
        time = number * period
        while pending and pending[0][0] <= time:
            finished, _, report, earlier = heapq.heappop(pending)
            seen.take(report, finished)
            policy.learn(report, earlier)
        seen.probe(time)
        observation = seen.observation(time)
        choose_at = getattr(policy, "choose_at", None)
        wanted = world.way(policy.choose(observation) if choose_at is None else choose_at(time, observation))
        slowness = world.device_factor * math.exp(world.jitter * generator.standard_normal())
        left = leaves(wanted, number)
        outcome, report = answer(world, policy, wanted, time, slowness, observation, left=left)
        run.outcomes.append(outcome)
        heapq.heappush(pending, (time + outcome.seconds, number, report, observation))
    return run


def leaves(way: WayCosts, number: int) -> bool:
    """Whether a request leaves at a way's exit; the same ones do for every policy, evenly spread."""
    return number * _GOLDEN % 1.0 < way.leaves


def answer(
    world: World,
    policy: Policy,
    way: WayCosts,
    time: float,
    slowness: float,
    observation: Observation,
    *,
    left: bool = False,
) -> tuple[Outcome, Report]:
    """One request, and what the runtime would report of it."""
    device = way.device_seconds * slowness
    if left:
        report = Report(way.name, way.name, seconds=device, device_seconds=device, left=True)
        return Outcome(time, device, way.device_joules * slowness, way.name), report
    if not way.uses_server:
        joules = way.device_joules * slowness
        return Outcome(time, device, joules, way.name), Report(
            way.name, way.name, seconds=device, device_seconds=device
        )
    start = time + device
    exchange = world.exchange(way, start)
    hedge = getattr(policy, "hedge_seconds", None)
    late = math.inf if hedge is None else hedge(way.name, observation)
    local = world.local
    alone = math.inf if local is None or exchange <= late else late + local.device_seconds * slowness
    spent = min(exchange, alone)
    joules = way.device_joules * slowness + _radio_joules(world, way, start, exchange, spent)
    joules += world.idle_watts * spent
    if local is not None and alone < math.inf:
        joules += local.device_joules * slowness * (spent - late) / max(alone - late, 1e-12)
    if exchange <= alone:
        statistics = Statistics(0, 1, round(1e6 * world.server_wait), round(1e6 * way.server_seconds))
        report = Report(
            way.name,
            way.name,
            seconds=device + exchange,
            device_seconds=device,
            exchange_seconds=exchange,
            server=statistics,
            sent_bytes=way.sent_bytes,
            received_bytes=way.returned_bytes,
        )
        return Outcome(time, device + exchange, joules, way.name), report
    assert local is not None
    # What was not sent yet is dropped with the request.
    report = Report(
        local.name,
        way.name,
        reason="late",
        seconds=device + alone,
        device_seconds=local.device_seconds * slowness,
        exchange_seconds=alone,
        sent_bytes=way.sent_bytes,
    )
    return Outcome(time, device + alone, joules, local.name), report


def _radio_joules(world: World, way: WayCosts, start: float, exchange: float, spent: float) -> float:
    """The radio's energy for an exchange that ended, or was given up, after `spent` of its seconds."""
    link = world.link
    moving = max(exchange - world.rtt(start) - world.server_wait - way.server_seconds, 1e-9)
    share = min(1.0, spent / moving)
    again = 8.0 / (1.0 - link.loss)
    bits = again * (way.sent_bytes * link.joules_per_bit_up + way.returned_bytes * link.joules_per_bit_down)
    return share * (bits + link.active_watts * moving)


def base_cost(world: World) -> tuple[float, float]:
    """Seconds and joules that the device needs by itself, which preferences are relative to."""
    alone = world.local or world.ways[0]
    now = Situation(world.trace.mean_rate, world.link.rtt, world.server_wait, world.device_factor)
    return total_seconds(alone, world.link, now), total_joules(alone, world.link, world.idle_watts, now)


def simulate_oracle(world: World, *, period: float, requests: int, preference: Preference | None = None) -> Run:
    """The run of one that knows the trace and takes for each request the way whose answer will cost least.

    Computing times have no jitter for it.
    """
    wanted, base = preference or Preference(), base_cost(world)
    run = Run("oracle")
    for number in range(requests):
        time = number * period
        every = [
            answer(world, Fixed(way.name), way, time, world.device_factor, Observation(), left=leaves(way, number))[0]
            for way in world.ways
        ]
        best = min(every, key=lambda outcome: wanted.of(outcome.seconds, outcome.joules, base))
        run.outcomes.append(best)
    return run


def best_fixed(runs: Sequence[Run]) -> Run:
    """The run with the least median."""
    return min(runs, key=lambda run: run.median)


class _Seen:
    """What the runtime's observer would know."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rate: float | None = None
        self.last: float | None = None
        self.measured: float | None = None
        self.factor: float | None = None

    def observation(self, time: float) -> Observation:
        age = None if self.measured is None else max(time - self.measured, 0.0)
        return Observation(
            connected=True,
            bytes_per_second=self.rate,
            rtt_seconds=self.world.rtt(time),
            queued=0,
            server_wait_seconds=self.world.server_wait,
            device_factor=self.factor,
            age_seconds=age,
            last_bytes_per_second=self.last,
        )

    def probe(self, time: float) -> None:
        """Measure the rate when no request did for a while."""
        if self.measured is not None and time - self.measured < PROBE:
            return
        size = min(max((self.rate or 1e6) * _PROBE_SECONDS, 4096), 1 << 18)
        # The probe went out while nothing else was sent, just before now.
        begin = max(time - _PROBE_SECONDS, 0.0)
        spent = self.world.trace.transfer_end(begin, size) - begin
        if spent < PROBE:
            self._sample(size / spent, time)

    def take(self, report: Report, time: float) -> None:
        """A request was answered."""
        if report.server is None:
            return
        served = (report.server.waited_us + report.server.service_us) / 1e6
        moving = report.exchange_seconds - served - self.world.rtt(time)
        if moving > 0.1 * self.world.rtt(time):
            down = self.world.link.uplink / self.world.link.downlink
            self._sample((report.sent_bytes + report.received_bytes * down) / moving, time)

    def _sample(self, rate: float, time: float) -> None:
        self.last = rate
        self.rate = rate if self.rate is None else 1 / ((1 - _GAIN) / self.rate + _GAIN / rate)
        self.measured = time
