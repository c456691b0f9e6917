"""The controllers: they follow the link, keep to the preference, and never wait for what does not come."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optc.errors import OptcError
from optc.runtime.split.client import Report
from optc.runtime.split.control.costs import Preference, WayCosts
from optc.runtime.split.control.estimates import RateEstimate, TransferEstimate
from optc.runtime.split.control.learned import FEATURES, HIDDEN, Learned, load_policy
from optc.runtime.split.control.predictive import ModelPredictive
from optc.runtime.split.messages import Statistics
from optc.runtime.split.observation import Observation
from optc.targets.link import Link

WAYS = (
    WayCosts("local", 0.1, device_joules=0.2, uses_server=False),
    WayCosts("remote", 0.0, 0.01, 100_000, 100),
    WayCosts("1", 0.03, 0.006, 10_000, 100, 0.05),
)
LINK = Link("l", uplink=8e6, downlink=8e6, rtt=0.004, joules_per_bit_up=1e-7)
UP = Observation(connected=True, age_seconds=0.1)


def answered(name: str, rate: float, *, waited: float = 0.0, slower: float = 1.0) -> Report:
    """What the client reports of a request over a link of so many bytes per second."""
    way = next(way for way in WAYS if way.name == name)
    exchange = (way.sent_bytes + way.returned_bytes) / rate + LINK.rtt + waited + way.server_seconds
    statistics = Statistics(0, 1, round(1e6 * waited), round(1e6 * way.server_seconds))
    device = way.device_seconds * slower
    return Report(name, name, "", device + exchange, device, 0.0, exchange, statistics, way.sent_bytes, 100)


def settled(policy: ModelPredictive, rate: float, count: int = 12, **given: float) -> str:
    """What it chooses after some requests over a link of that rate."""
    for _ in range(count):
        policy.learn(answered("1", rate, **given), UP)
    return policy.choose(UP)


@pytest.mark.parametrize(("rate", "best"), [(2e4, "local"), (1e6, "1"), (2e7, "remote")])
def test_it_follows_the_rate(rate: float, best: str) -> None:
    policy = ModelPredictive(WAYS, LINK)
    assert settled(policy, rate) == best
    costs = policy.costs(UP)
    assert min(costs, key=costs.__getitem__) == best and costs["local"] == pytest.approx(1.0)


def test_it_follows_a_fall_within_two_requests() -> None:
    policy = ModelPredictive(WAYS, LINK)
    assert settled(policy, 2e7) == "remote"
    for _ in range(2):
        policy.learn(answered("remote", 2e4), UP)
    assert policy.choose(UP) == "local" or policy.hedge_seconds("remote", UP) == 0


def test_on_a_link_that_jumps_both_sides_begin_at_once() -> None:
    """Once in two the answer comes early: sending costs the device nothing, and computing by itself nobody."""
    policy = ModelPredictive(WAYS[:2], LINK)
    for step in range(12):
        policy.learn(answered("remote", 2e6 if step % 2 else 2e5), UP)
    assert policy.choose(UP) == "remote" and policy.hedge_seconds("remote", UP) == 0
    expected, late = policy._expected(UP)["remote"]
    assert late == 0 and expected < 1


def test_it_gives_up_after_three_late_answers_in_a_row() -> None:
    policy = ModelPredictive(WAYS, LINK)
    assert settled(policy, 2e7) == "remote"
    for _ in range(3):
        policy.learn(Report("local", "remote", "late", 0.1, 0.1, 0.0, 0.1), UP)
    for _ in range(3):
        policy.rate.at_most(2e3)
    assert policy.choose(UP) == "local"


def test_a_queue_at_the_server_and_a_busy_device_count() -> None:
    assert settled(ModelPredictive(WAYS, LINK), 2e7, waited=0.3) == "local"
    policy = ModelPredictive(WAYS, LINK)
    assert settled(policy, 1e6, slower=6.0) == "remote"
    assert policy.situation(UP).device_factor == pytest.approx(6.0, rel=0.05)


def test_without_a_link_it_stays_on_the_device() -> None:
    policy = ModelPredictive(WAYS, LINK)
    settled(policy, 2e7)
    assert policy.choose(Observation(connected=False)) == "local"


def test_energy_is_saved_where_that_is_preferred() -> None:
    """Sending 100 kB costs 0.08 J, sending 10 kB and computing 0.058 J; the former is faster here."""
    for energy, best in ((0.0, "remote"), (1.0, "1")):
        policy = ModelPredictive(WAYS, LINK, idle_watts=0.1, preference=Preference(energy))
        assert settled(policy, 2e7) == best


def test_the_rate_that_the_link_measured_by_itself_is_used() -> None:
    policy = ModelPredictive(WAYS, LINK)
    assert settled(policy, 2e4) == "local"
    assert policy.choose(Observation(connected=True, last_bytes_per_second=2e7, age_seconds=0.0)) != "local"
    for _ in range(3):
        policy.learn(answered("1", 2e7), UP)
    assert policy.choose(UP) == "remote"


def test_a_late_answer_is_not_waited_for() -> None:
    policy = ModelPredictive(WAYS, LINK)
    settled(policy, 1e6)
    late = policy.hedge_seconds("1", UP)
    expected = 10_100 / 1e6 + LINK.rtt + 0.006
    assert expected < late < 3 * expected
    assert policy.hedge_seconds("local", UP) == math.inf
    saving = ModelPredictive(WAYS, LINK, preference=Preference(1.0))
    settled(saving, 1e6)
    assert saving.hedge_seconds("1", UP) >= late
    assert ModelPredictive(WAYS, LINK, hedge=False).hedge_seconds("1", UP) == math.inf
    before = policy.rate.rate()
    for _ in range(3):
        policy.learn(Report("local", "1", "late", 0.3, 0.1, 0.0, 0.2), UP)
    assert policy.rate.rate() < 0.2 * before


def test_the_estimate_knows_how_sure_it_is() -> None:
    steady, wild = RateEstimate(1e6), RateEstimate(1e6)
    for step in range(40):
        steady.add(2e6)
        wild.add(2e6 * (3.0 if step % 2 else 1 / 3))
    assert steady.rate() == pytest.approx(2e6)
    assert steady.spread() < 0.05 < 0.5 < wild.spread()
    assert steady.spread(age=30.0) > steady.spread()
    assert wild.rate(caution=1.0) < wild.rate() < wild.rate(caution=-1.0)


def test_what_was_not_learned_changes_nothing() -> None:
    weights = {"first": np.ones((FEATURES, HIDDEN)), "bias": np.zeros(HIDDEN), "second": np.zeros(HIDDEN)}
    for rate in (2e4, 1e6, 2e7):
        learned = Learned(WAYS, LINK, weights=weights)
        assert settled(learned, rate) == settled(ModelPredictive(WAYS, LINK, caution=0.0), rate)


def test_the_policy_that_comes_along_follows_the_rate() -> None:
    for rate, best in ((2e4, "local"), (1e6, "1"), (2e7, "remote")):
        assert settled(Learned(WAYS, LINK), rate) == best


def test_a_file_that_is_no_policy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.npz"
    np.savez(path, first=np.ones((2, 2)), bias=np.ones(2), second=np.ones(2))
    with pytest.raises(OptcError) as error:
        load_policy(path)
    assert (error.value.what, error.value.why) == (
        "the policy cannot be read",
        f"'first' is not of shape ({FEATURES}, {HIDDEN})",
    )


def test_what_every_exchange_takes_is_told_from_the_rate() -> None:
    """40 ms beside 1 MB/s: two sizes in turn tell them apart, one size cannot."""
    transfers = TransferEstimate(1e6)
    for step in range(20):
        size = (20_000, 120_000)[step % 2]
        transfers.exchange(size, 0.04 + size / 1e6)
    assert transfers.overhead == pytest.approx(0.04, rel=0.25)
    for size in (20_000, 60_000, 120_000):
        assert transfers.overhead + size / transfers.held.rate() == pytest.approx(0.04 + size / 1e6, rel=0.1)
    alike = TransferEstimate(1e6)
    for _ in range(20):
        alike.exchange(20_000, 0.06)
    assert alike.overhead == 0 and alike.held.rate() == pytest.approx(20_000 / 0.06)


def test_a_link_that_only_changes_has_no_overhead() -> None:
    transfers = TransferEstimate(1e6)
    for step in range(40):
        rate = 2e6 if step // 10 % 2 else 1e5
        size = (20_000, 120_000)[step % 2]
        transfers.exchange(size, size / rate)
    assert transfers.overhead == 0


def test_it_tries_a_server_now_and_then_within_its_allowance() -> None:
    """The first exchange took ten times as long, so that the device seems better; tries show that it is not."""
    policy = ModelPredictive(WAYS, LINK)
    policy.learn(replace(answered("1", 1e6), exchange_seconds=0.11), UP)
    costs = policy.costs(UP)
    assert min(costs, key=costs.__getitem__) == "local"
    chosen = []
    for _ in range(40):
        chosen.append(policy.choose(UP))
        way = policy.ways[chosen[-1]]
        late = policy.hedge_seconds(way.name, UP)
        if not way.uses_server:
            policy.learn(Report("local", "local", seconds=0.1, device_seconds=0.1), UP)
        elif answered(way.name, 1e6).exchange_seconds < late + 0.1:
            policy.learn(answered(way.name, 1e6), UP)
        else:
            spent = late + 0.1
            policy.learn(Report("local", way.name, "late", way.device_seconds + spent, 0.1, 0.0, spent), UP)
    assert chosen[0] == "1" and set(chosen[-20:]) == {"1"}


def test_tries_that_fail_become_rare() -> None:
    policy = ModelPredictive(WAYS, LINK)
    spent = 0.0
    for _ in range(300):
        way = policy.ways[policy.choose(UP)]
        late = min(policy.hedge_seconds(way.name, UP), 1.0) if way.uses_server else 0.0
        seconds = way.device_seconds * way.uses_server + late + 0.1
        exchange = late + 0.1 if way.uses_server else 0.0
        policy.learn(Report("local", way.name, "late" * way.uses_server, seconds, 0.1, 0.0, exchange), UP)
        spent += seconds
    assert spent < 0.1 * (300 * 1.02 + 3)


def test_an_exchange_that_took_less_than_the_overhead_refutes_it() -> None:
    """Six exchanges were slow for another reason; then all are of one size, and of one answer of the link."""
    transfers = TransferEstimate(1e6)
    for step in range(6):
        size = (20_000, 120_000)[step % 2]
        transfers.exchange(size, 0.1 + size / 1e6)
    assert transfers.overhead > 0.05
    for _ in range(3):
        transfers.exchange(20_000, 0.04)
    assert transfers.overhead < 0.04
    assert transfers.overhead + 20_000 / transfers.held.rate() == pytest.approx(0.04, rel=0.1)


def test_who_has_the_next_request_waiting_computes_less_in_vain() -> None:
    """The rate is uncertain, so that an idle device helps itself early."""
    idle, busy = ModelPredictive(WAYS, LINK), ModelPredictive(WAYS, LINK)
    for policy in (idle, busy):
        for number in range(12):
            policy.learn(answered("1", 2e5 if number % 2 else 3e6), UP)
    waits = [policy.hedge_seconds("1", replace(UP, busy=share)) for policy, share in ((idle, 0.0), (busy, 1.0))]
    assert waits[0] == 0.0 and waits[1] > 0.1
    assert busy.costs(replace(UP, busy=1.0))["1"] > idle.costs(UP)["1"]


def test_what_the_device_needs_around_an_exchange_is_not_taken_for_the_link() -> None:
    """All exchanges are of one size: without the connection's own time nobody could tell the two apart."""
    policy = ModelPredictive(WAYS, LINK)
    quick = answered("1", 1e6)
    for _ in range(30):
        slow = replace(quick, exchange_seconds=quick.exchange_seconds + 0.05, link_seconds=quick.exchange_seconds)
        policy.learn(slow, UP)
    assert policy.rate.rate() == pytest.approx(1e6, rel=0.01)
    assert policy.situation(UP).overhead == pytest.approx(0.05, rel=0.01)
    policy.learn(Report("local", "1", "late", 0.3, 0.1, 0.0, exchange_seconds=0.2), UP)
    assert policy.situation(UP).overhead == pytest.approx(0.05, rel=0.01)


def test_the_cost_model_may_be_wrong_by_another_factor_for_each_way() -> None:
    """The device is three times slower than predicted, and for everything by itself, six times."""
    policy = ModelPredictive(WAYS, LINK)
    for _ in range(60):
        policy.learn(answered("1", 1e6, slower=3.0), UP)
        policy.learn(Report("local", "local", seconds=0.6, device_seconds=0.6), UP)
    factor = policy.situation(UP).device_factor
    assert policy.ways["1"].device_seconds * factor == pytest.approx(0.09, rel=0.15)
    assert policy.local is not None
    assert policy.local.device_seconds * factor == pytest.approx(0.6, rel=0.15)
