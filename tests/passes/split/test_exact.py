"""The cut is the cheapest of all placements: compared with trying every one, on random small graphs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.errors import LimitError
from optc.passes.split.condense import condense
from optc.passes.split.cut import cheapest
from optc.passes.split.front import over_bandwidths, pareto_front
from optc.passes.split.limited import cheapest_within
from optc.passes.split.problem import (
    ENERGY,
    LATENCY,
    Conditions,
    Cost,
    Goal,
    Placement,
    SplitProblem,
    Task,
    Transfer,
    Weights,
    device_memory,
    evaluate,
    is_allowed,
)
from optc.targets.link import Link

numbers = st.integers(min_value=0, max_value=40)


@st.composite
def problems(draw: st.DrawFn, tiers: int = 2, most: int = 7) -> SplitProblem:
    count = draw(st.integers(min_value=1, max_value=most))
    tasks, transfers = [], []
    readers: list[set[int]] = [set() for _ in range(count + 1)]  # the last is the model's input
    for index in range(count):
        tasks.append(Task(f"t{index}", tuple(draw(numbers) / 1e3 for _ in range(tiers)), draw(numbers) / 1e2))
        for source in draw(st.sets(st.integers(min_value=-1, max_value=index - 1), min_size=1, max_size=3)):
            readers[source].add(index)
    for producer in (-1, *range(count)):
        wanted = producer >= 0 and (not readers[producer] or draw(st.booleans()))
        transfers.append(
            Transfer(
                f"v{producer}",
                None if producer < 0 else producer,
                tuple(sorted(readers[producer])),
                draw(st.integers(min_value=1, max_value=5000)),
                wanted=wanted,
                returned_bytes=draw(st.integers(min_value=1, max_value=5000)) if wanted else 0,
                movable=draw(st.integers(min_value=0, max_value=5)) > 0,
                stored=draw(numbers),
                coding=draw(numbers) / 1e3,
            )
        )
    weights = [
        Weights(draw(numbers), tuple(sorted(draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=2)))))
        for _ in range(draw(st.integers(min_value=0, max_value=3)))
    ]
    return SplitProblem(tiers, tuple(tasks), tuple(transfers), tuple(weights))


@st.composite
def worlds(draw: st.DrawFn, hops: int = 1) -> Conditions:
    links = tuple(
        Link(
            "l",
            uplink=draw(st.integers(1, 50)) * 1e5,
            downlink=draw(st.integers(1, 50)) * 1e5,
            rtt=draw(numbers) / 1e3,
            loss=draw(st.sampled_from((0.0, 0.1))),
            joules_per_bit_up=draw(numbers) * 1e-7,
            joules_per_bit_down=draw(numbers) * 1e-8,
            active_watts=draw(numbers) / 10,
        )
        for _ in range(hops)
    )
    waits = (0.0, *(draw(numbers) / 1e3 for _ in range(hops)))
    return Conditions(links, draw(numbers) / 10, waits, (1.5, *(1.0 for _ in range(hops))))


goals = st.sampled_from((LATENCY, ENERGY, Goal(1.0, 0.3), Goal(0.2, 0.1, 1e-5)))


def placements(problem: SplitProblem) -> list[Placement]:
    every = itertools.product(range(problem.tiers), repeat=len(problem.tasks))
    return [each for each in every if is_allowed(problem, each)]


def close(found: float, wanted: float) -> bool:
    return found <= wanted + 1e-9 * max(1.0, abs(wanted))


@given(problems(), worlds(), goals)
@settings(max_examples=70, derandomize=True, deadline=None)
def test_two_tiers(problem: SplitProblem, world: Conditions, goal: Goal) -> None:
    found = cheapest(problem, world, goal)
    assert is_allowed(problem, found)
    best = min(evaluate(problem, each, world).under(goal) for each in placements(problem))
    assert close(evaluate(problem, found, world).under(goal), best)


@given(problems(), worlds(), goals)
@settings(max_examples=70, derandomize=True, deadline=None)
def test_what_is_condensed_has_the_same_minimum(problem: SplitProblem, world: Conditions, goal: Goal) -> None:
    small = condense(problem, world)
    found = small.expand(cheapest(small.problem, world, goal))
    assert is_allowed(problem, found)
    best = min(evaluate(problem, each, world).under(goal) for each in placements(problem))
    assert close(evaluate(problem, found, world).under(goal), best)


def test_a_chain_keeps_what_shrinks() -> None:
    sizes = [100, 400, 400, 80, 300, 20]
    tasks = tuple(Task(f"t{i}", (0.01, 0.001), 0.1) for i in range(6))
    transfers = [Transfer("in", None, (0,), 100)]
    transfers += [Transfer(f"v{i}", i, (i + 1,), sizes[i]) for i in range(5)]
    transfers += [Transfer("v5", 5, (), 20, wanted=True, returned_bytes=20)]
    small = condense(SplitProblem(2, tasks, tuple(transfers)), Conditions((Link("l"),)))
    # Cuts behind v3 (80 bytes) and at the output are worth it; those behind values that are larger than earlier ones
    # are not.
    assert small.group == (0, 0, 0, 0, 1, 1)


@given(problems(tiers=3, most=5), worlds(hops=2), goals)
@settings(max_examples=40, derandomize=True, deadline=None)
def test_three_tiers(problem: SplitProblem, world: Conditions, goal: Goal) -> None:
    found = cheapest(problem, world, goal)
    assert is_allowed(problem, found)
    best = min(evaluate(problem, each, world).under(goal) for each in placements(problem))
    assert close(evaluate(problem, found, world).under(goal), best)


@given(problems(most=6), worlds(), goals, st.integers(min_value=0, max_value=150))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_within_memory(problem: SplitProblem, world: Conditions, goal: Goal, memory: int) -> None:
    fitting = [each for each in placements(problem) if device_memory(problem, each) <= memory]
    if not fitting:
        with pytest.raises(LimitError, match=f"no split fits into {memory} bytes of the device"):
            cheapest_within(problem, world, goal, memory)
        return
    found = cheapest_within(problem, world, goal, memory)
    assert is_allowed(problem, found) and device_memory(problem, found) <= memory
    best = min(evaluate(problem, each, world).under(goal) for each in fitting)
    assert evaluate(problem, found, world).under(goal) <= best * (1 + 1e-6) + 1e-9


@given(problems(most=6), worlds())
@settings(max_examples=25, derandomize=True, deadline=None)
def test_every_bandwidth_has_its_best_placement(problem: SplitProblem, world: Conditions) -> None:
    found = over_bandwidths(problem, world, LATENCY, slower=0.05, faster=20.0)
    every = placements(problem)
    link = world.links[0]
    for factor in (0.05, 0.11, 0.3, 1.0, 2.7, 9.0, 20.0):
        now = replace(world, links=(link.with_rates(uplink=link.uplink * factor, downlink=link.downlink * factor),))
        best = min(evaluate(problem, each, now).seconds for each in every)
        assert close(min(evaluate(problem, each, now).seconds for each in found), best)


@given(problems(most=6), worlds())
@settings(max_examples=25, derandomize=True, deadline=None)
def test_nothing_beats_the_front(problem: SplitProblem, world: Conditions) -> None:
    front = pareto_front(problem, world)
    costs = [evaluate(problem, each, world) for each in placements(problem)]

    def beats(one: Cost, other: Cost) -> bool:
        slack = 1 - 1e-7
        return one.seconds < other.seconds * slack and one.joules < other.joules * slack and one.bytes < other.bytes

    assert front and all(cost == evaluate(problem, placement, world) for placement, cost in front)
    assert not any(beats(cost, kept) for cost in costs for _, kept in front)
    for goal in (LATENCY, ENERGY, Goal(bytes=1.0)):
        assert close(min(cost.under(goal) for _, cost in front), min(cost.under(goal) for cost in costs))


def test_a_value_with_many_readers_is_sent_once() -> None:
    tasks = [Task("stem", (0.001, 0.001)), *(Task(f"branch{i}", (1.0, 0.001)) for i in range(5))]
    transfers = (
        Transfer("image", None, (0,), 10**9),
        Transfer("features", 0, (1, 2, 3, 4, 5), 1000),
        *(Transfer(f"out{i}", i + 1, (), 8, wanted=True, returned_bytes=8) for i in range(5)),
    )
    problem = SplitProblem(2, tuple(tasks), transfers)
    world = Conditions((Link("l", uplink=8e3, downlink=8e6, rtt=0.01),))
    found = cheapest(problem, world, LATENCY)
    assert found == (0, 1, 1, 1, 1, 1)
    assert evaluate(problem, found, world).bytes == 1000 + 5 * 8


def test_private_inputs_stay() -> None:
    tasks = (Task("conv", (1.0, 0.001)), Task("rest", (1.0, 0.001)))
    transfers = (
        Transfer("image", None, (0,), 10, movable=False),
        Transfer("features", 0, (1,), 10),
        Transfer("scores", 1, (), 8, wanted=True, returned_bytes=8),
    )
    world = Conditions((Link("l", uplink=1e6, downlink=1e6),))
    assert cheapest(SplitProblem(2, tasks, transfers), world, LATENCY) == (0, 1)
