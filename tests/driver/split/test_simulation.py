"""The simulator: closed forms on constant links, bounds on others, and the gradient of the learned policy."""

from __future__ import annotations

import numpy as np
import pytest

from optc.driver.split.policy_training import Recipe, contexts_of, initial_weights, loss_and_gradient, train_policy
from optc.driver.split.replay import replay
from optc.driver.split.simulation import World, simulate, simulate_oracle
from optc.driver.split.traces import trace_of
from optc.runtime.split.client import Fixed
from optc.runtime.split.control import ModelPredictive, Preference, WayCosts
from optc.targets.link import Link

WAYS = (
    WayCosts("local", 0.1, device_joules=0.2, uses_server=False),
    WayCosts("remote", 0.002, 0.01, 100_000, 1000),
    WayCosts("1", 0.03, 0.006, 10_000, 1000, 0.05),
)
LINK = Link("l", uplink=8e6, downlink=16e6, rtt=0.004, joules_per_bit_up=1e-7, active_watts=0.5)


def world(mbps: list[float], **given: float) -> World:
    return World(trace_of("t", range(len(mbps)), mbps), WAYS, LINK, 0.5, **given)


def test_a_constant_link_is_arithmetic() -> None:
    run = simulate(world([8, 8]), Fixed("1"), "1", period=0.3, requests=5)
    seconds = 0.03 + (10_000 + 1000 / 2) / 1e6 + 0.004 + 0.006
    np.testing.assert_allclose(run.latencies, seconds)
    assert [each.time for each in run.outcomes] == pytest.approx([0.0, 0.3, 0.6, 0.9, 1.2])
    radio = 8 * 10_000 * LINK.joules_per_bit_up + LINK.active_watts * (10_000 / 1e6 + 1000 / 2e6)
    assert run.joules == pytest.approx(0.05 + radio + 0.5 * (seconds - 0.03), rel=1e-6)


def test_a_device_with_other_work_is_slower() -> None:
    run = simulate(world([8, 8], device_factor=3.0), Fixed("local"), "local", period=1, requests=2)
    assert run.median == pytest.approx(0.3)


def test_on_a_constant_link_the_controller_is_the_oracle() -> None:
    for mbps, best in ((0.3, "local"), (8.0, "1"), (200.0, "remote")):
        place = world([mbps, mbps])
        outcome = replay(place, period=1.0, requests=30)
        adaptive = outcome.run("adaptive")
        assert adaptive is not None
        assert {each.way for each in outcome.oracle.outcomes} == {best}
        assert adaptive.median == pytest.approx(outcome.oracle.median)


def test_nobody_beats_the_oracle() -> None:
    generator = np.random.default_rng(2)
    place = world((8 * np.exp(generator.standard_normal(60))).tolist())
    outcome = replay(place, period=1.0, requests=60)
    for run in outcome.runs:
        assert np.all(run.latencies >= outcome.oracle.latencies - 1e-9)
    adaptive = outcome.run("adaptive")
    assert adaptive is not None and adaptive.mean < 1.3 * outcome.oracle.mean


def test_an_outage_costs_no_more_than_patience() -> None:
    """The link dies for 20 s while a request is under way: the device answers by itself."""
    place = world([8.0] * 5 + [0.0] * 20 + [8.0] * 5)
    policy = ModelPredictive(WAYS, LINK)
    run = simulate(place, policy, "adaptive", period=0.5, requests=60)
    waiting = simulate(place, Fixed("1"), "1", period=0.5, requests=60)
    assert waiting.latencies.max() > 15
    assert run.latencies.max() < 0.5
    during = [each.way for each in run.outcomes if 6.5 < each.time < 24]
    assert set(during) == {"local"}
    assert run.outcomes[-1].way == "1"


@pytest.mark.parametrize(("mbps", "overhead", "best"), [(8, 0.1, "1"), (4, 0.3, "local")])
def test_a_slow_device_finds_the_way_that_pays(mbps: float, overhead: float, best: str) -> None:
    """Every exchange takes longer than pings show, and the first ones a second more: neither is the link's rate."""
    ways = (
        WayCosts("local", 0.3, uses_server=False),
        WayCosts("remote", 0.0, 0.006, 132_000, 1000),
        WayCosts("1", 0.06, 0.006, 23_500, 1000),
    )
    place = World(trace_of("t", [0, 1], [mbps, mbps]), ways, LINK, overhead=overhead, waking=1.0)
    policy = ModelPredictive(ways, LINK)
    run = simulate(place, policy, "adaptive", period=1.0, requests=60)
    oracle = simulate_oracle(place, period=1.0, requests=60)
    assert {each.way for each in oracle.outcomes[2:]} == {best}
    assert [each.way for each in run.outcomes[10:]].count(best) >= 45
    assert run.median <= 1.1 * oracle.median and run.mean <= 1.15 * oracle.mean


def test_preferring_energy_saves_energy() -> None:
    place = world([3.0, 4.0, 2.0])
    fast, saving = (simulate_oracle(place, period=1, requests=20, preference=Preference(e)) for e in (0.0, 1.0))
    assert saving.joules <= fast.joules and fast.mean <= saving.mean


def test_the_gradient_of_the_policy() -> None:
    place = world([2.0, 9.0, 5.0, 30.0])
    recipe = Recipe(requests=8)
    generator = np.random.default_rng(0)
    weights = {name: 0.3 * generator.standard_normal(array.shape) for name, array in initial_weights().items()}
    contexts = contexts_of(place, weights, Preference(0.3), recipe)
    assert len(contexts) == 8 and contexts[0].features.shape[0] == len(WAYS)
    _, gradient = loss_and_gradient(weights, contexts, 0.2)
    for name, array in weights.items():
        for index in list(np.ndindex(array.shape))[::37]:
            values = []
            for step in (1e-5, -1e-5):
                moved = {key: value.copy() for key, value in weights.items()}
                moved[name][index] += step
                values.append(loss_and_gradient(moved, contexts, 0.2)[0])
            assert (values[0] - values[1]) / 2e-5 == pytest.approx(gradient[name][index], rel=1e-4, abs=1e-7)


def test_training_lowers_the_expected_cost() -> None:
    """On a link that swings every second, what the link just did is the wrong guess; that can be learned."""
    place = world([1.0, 40.0] * 20)
    recipe = Recipe(rounds=1, steps=120, rate=2e-2, requests=40, energies=(0.0,))
    before = contexts_of(place, initial_weights(), Preference(), recipe)
    trained = train_policy([place], recipe)
    start, _ = loss_and_gradient(initial_weights(), before, recipe.temperature)
    end, _ = loss_and_gradient(trained, before, recipe.temperature)
    assert end < 0.7 * start
