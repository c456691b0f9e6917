"""Places of streamed weights: worked out by hand, and run over and over on a memory that is overwritten."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.errors import LimitError
from optc.passes.memory.stream_places import PlacedLoad, PlacedStream, fullest_step, least_memory, place_stream
from optc.passes.memory.streaming import Weight


def chain(*sizes: int) -> list[Weight]:
    return [Weight(f"w{step}", size, step, step) for step, size in enumerate(sizes)]


def test_two_places_take_turns_over_runs() -> None:
    """Storage brings one weight during one step: no step waits once runs follow one another."""
    placed = place_stream([1.0] * 4, chain(64, 64, 64, 64), 128, 64.0)
    assert placed.locked == () and placed.bytes == 128
    assert placed.loads == (
        PlacedLoad(0, 2, True),
        PlacedLoad(1, 3, True),
        PlacedLoad(2, 0, False),
        PlacedLoad(3, 1, False),
    )
    assert placed.places[0] == placed.places[2] != placed.places[1] == placed.places[3]
    assert (placed.seconds, placed.stalls) == (4.0, 0.0)


def test_one_place_waits_for_each_step() -> None:
    placed = place_stream([1.0] * 3, chain(64, 64, 64), 64, 64.0)
    assert placed.loads == (PlacedLoad(0, 2, True), PlacedLoad(1, 0, False), PlacedLoad(2, 1, False))
    assert (placed.seconds, placed.stalls, placed.bytes) == (6.0, 3.0, 64)


def test_what_fits_is_not_loaded() -> None:
    placed = place_stream([1.0, 1.0], chain(64, 128), 200, 1.0)
    assert (placed.loads, placed.locked, placed.places, placed.bytes) == ((), (0, 1), (0, 64), 192)


def test_the_least_memory() -> None:
    weights = [Weight("a", 64, 0, 1), Weight("b", 128, 1, 1), Weight("c", 64, 2, 2)]
    assert (least_memory(weights), fullest_step(3, weights)) == (192, 1)
    assert place_stream([1.0] * 3, weights, 192, 1.0).bytes == 192
    with pytest.raises(LimitError) as caught:
        place_stream([1.0] * 3, weights, 191, 1.0)
    assert str(caught.value) == "the weights cannot be streamed through 191 bytes\n  hint: 192 bytes work"


problems = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 2), st.floats(0.1, 2.0), st.booleans()), min_size=1, max_size=10
)


def weights_of(rows: Sequence[tuple[int, int, float, bool]]) -> list[Weight]:
    last = len(rows) - 1
    return [
        Weight(f"w{step}", 64 * size, step, min(last, step + more))
        for step, (size, more, _, has) in enumerate(rows)
        if has
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems, st.integers(0, 30), st.floats(1.0, 1000.0), st.booleans())
def test_every_step_of_every_run_finds_its_weights(
    rows: list[tuple[int, int, float, bool]], more: int, rate: float, eager: bool
) -> None:
    """With loads as early as they may be, and as late."""
    weights = weights_of(rows)
    budget = least_memory(weights) + 64 * more
    placed = place_stream([row[2] for row in rows], weights, budget, rate)
    assert placed.bytes <= budget
    assert {*placed.locked, *(load.weight for load in placed.loads)} == set(range(len(weights)))
    assert placed.seconds >= sum(row[2] for row in rows) - 1e-9
    memory: list[object] = [None] * placed.bytes
    for number in placed.locked:
        fill(memory, placed, weights, number, "locked")
    made = 0

    def load(finished: int) -> bool:
        """Make the next load, unless what it waits for is not finished."""
        nonlocal made
        run, position = divmod(made, len(placed.loads))
        each = placed.loads[position]
        if finished < (run - each.earlier) * len(rows) + each.after + 1:
            return False
        fill(memory, placed, weights, each.weight, run)
        made += 1
        return True

    for run in range(4):
        for step in range(len(rows)):
            needed = run * len(placed.loads) + sum(weights[load.weight].step <= step for load in placed.loads)
            while made < needed:
                assert load(run * len(rows) + step), "a step waits for a load that waits for the step"
            while eager and placed.loads and load(run * len(rows) + step):
                pass
            for number, weight in enumerate(weights):
                if weight.step <= step <= weight.last:
                    content = memory[placed.places[number] : placed.places[number] + weight.size]
                    assert set(content) == {(number, "locked" if number in placed.locked else run)}


def fill(memory: list[object], placed: PlacedStream, weights: Sequence[Weight], number: int, run: object) -> None:
    start, size = placed.places[number], weights[number].size
    assert start % 64 == 0 and start + size <= len(memory)
    memory[start : start + size] = [(number, run)] * size
