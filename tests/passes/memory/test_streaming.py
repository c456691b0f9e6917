"""Streaming plans: times worked out by hand, memory that is never exceeded, and a locked part that pays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.errors import LimitError
from optc.passes.memory.streaming import Load, Weight, least_budget, plan_streaming, simulate


def chain(*sizes: int) -> list[Weight]:
    return [Weight(f"w{step}", size, step, step) for step, size in enumerate(sizes)]


def test_two_buffers_take_turns() -> None:
    """10 bytes a second: each load of 1 s runs beside the step of 1 s before it; only the first is waited for."""
    plan = simulate([1.0, 1.0, 1.0], chain(10, 10, 10), frozenset(), 20, 10.0)
    assert plan is not None
    assert plan.loads == (Load(0, -1, 0.0, 1.0), Load(1, -1, 1.0, 2.0), Load(2, 0, 2.0, 3.0))
    assert (plan.seconds, plan.stalls, plan.bytes) == (4.0, 1.0, 20)


def test_one_buffer_waits_for_each_step() -> None:
    plan = simulate([1.0, 1.0, 1.0], chain(10, 10, 10), frozenset(), 10, 10.0)
    assert plan is not None
    assert [(load.after, load.start, load.end) for load in plan.loads] == [(-1, 0, 1), (0, 2, 3), (1, 4, 5)]
    assert (plan.seconds, plan.stalls) == (6.0, 3.0)


def test_a_locked_weight_is_not_loaded() -> None:
    plan = simulate([1.0, 1.0, 1.0], chain(10, 10, 10), frozenset({0}), 30, 10.0)
    assert plan is not None
    assert (plan.seconds, plan.stalls, len(plan.loads)) == (3.0, 0.0, 2)
    found = plan_streaming([1.0] * 4, chain(10, 10, 10, 10), 30, 10.0)
    assert (found.seconds, found.stalls) == (4.0, 0.0) and found.locked == {0}


def test_what_fits_is_locked_as_a_whole() -> None:
    plan = plan_streaming([1.0, 1.0], chain(10, 10), 20, 1.0)
    assert (plan.loads, plan.seconds, plan.locked) == ((), 2.0, frozenset({0, 1}))


def test_a_budget_that_is_too_small() -> None:
    with pytest.raises(LimitError) as caught:
        plan_streaming([1.0, 1.0], chain(10, 30), 20, 1.0)
    assert str(caught.value) == (
        "the weights cannot be streamed through 20 bytes\n  some step needs 30 bytes of them at once\n"
        "  hint: 30 bytes work"
    )


problems = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(0, 2), st.floats(0.1, 2.0)), min_size=1, max_size=10
)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(problems, st.integers(0, 40))
def test_loads_are_in_time_and_never_exceed_the_budget(rows: list[tuple[int, int, int, float]], more: int) -> None:
    compute = [row[3] for row in rows]
    last = len(rows) - 1
    weights = [Weight(f"w{t}", row[0], t, min(last, t + row[2])) for t, row in enumerate(rows)]
    budget = least_budget(len(rows), weights) + more
    plan = plan_streaming(compute, weights, budget, 3.0)
    loads = {load.weight: load for load in plan.loads}
    clock, spans = 0.0, []
    for t, seconds in enumerate(compute):
        clock = max([clock, *(loads[n].end for n, w in enumerate(weights) if w.step == t and n in loads)]) + seconds
        spans.append(clock)
    assert clock == pytest.approx(plan.seconds)
    assert plan.stalls == pytest.approx(plan.seconds - sum(compute))
    for earlier, later in zip(plan.loads, plan.loads[1:], strict=False):
        assert later.start >= earlier.end
    for load in plan.loads:
        live = [n for n in loads if loads[n].start <= load.start < spans[weights[n].last] or n == load.weight]
        assert sum(weights[n].size for n in {*live, *plan.locked}) <= budget
    nothing = simulate(compute, weights, frozenset(), budget, 3.0)
    assert nothing is None or plan.seconds <= nothing.seconds
