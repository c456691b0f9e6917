"""Plans in which a result may overwrite its operand, held to a simulation of the bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from optc.passes.memory.overlap import plan_overlapping
from optc.passes.memory.plan import Buffer, plan_memory


def check(buffers: list[Buffer], overlaps: dict[tuple[int, int], int], offsets: tuple[int, ...]) -> None:
    """No two live buffers share bytes, but for a result that begins early enough before its operand."""
    for i, one in enumerate(buffers):
        for j, other in enumerate(buffers):
            if i == j or not (one.start < other.end and other.start < one.end) or not one.size or not other.size:
                continue
            apart = offsets[i] + one.size <= offsets[j] or offsets[j] + other.size <= offsets[i]
            if apart:
                continue
            distance = overlaps.get((i, j))
            operand, result = (i, j) if distance is not None else (j, i)
            distance = overlaps.get((operand, result))
            assert distance is not None, f"{i} and {j} collide"
            assert offsets[result] + distance <= offsets[operand]


def test_a_chain_in_place_takes_the_largest_buffer_alone() -> None:
    buffers = [Buffer(0, 2, 96), Buffer(1, 3, 96), Buffer(2, 4, 96)]
    plan = plan_overlapping(buffers, {(0, 1): 0, (1, 2): 0}, alignment=8)
    assert plan.arena_bytes == plan.lower_bound == 96
    assert plan_overlapping(buffers, {}, alignment=8).arena_bytes == 192


def test_the_distance_is_kept() -> None:
    buffers = [Buffer(0, 2, 80), Buffer(1, 3, 80)]
    plan = plan_overlapping(buffers, {(0, 1): 20}, alignment=8)
    assert plan.offsets[0] - plan.offsets[1] == 24
    assert plan.arena_bytes == plan.lower_bound == 104


def test_a_result_may_not_overwrite_what_lives_on() -> None:
    buffers = [Buffer(0, 3, 64), Buffer(1, 2, 64)]
    assert plan_overlapping(buffers, {}, alignment=8).arena_bytes == 128


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Buffer], dict[tuple[int, int], int]]:
    """Chains of buffers with others beside them; some steps let the result overlap."""
    steps = draw(st.integers(2, 8))
    buffers = [Buffer(step, step + 2, draw(st.integers(0, 200))) for step in range(steps)]
    overlaps = {
        (step, step + 1): draw(st.integers(0, 60)) for step in range(steps - 1) if draw(st.booleans())
    }
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, steps - 1))
        buffers.append(Buffer(start, draw(st.integers(start + 1, steps + 1)), draw(st.integers(0, 200))))
    return buffers, overlaps


@given(networks())
@settings(derandomize=True, max_examples=60, deadline=None)
def test_plans_are_valid_and_no_worse_than_those_without_overlaps(
    network: tuple[list[Buffer], dict[tuple[int, int], int]],
) -> None:
    buffers, overlaps = network
    plan = plan_overlapping(buffers, overlaps, alignment=8, rounds=60)
    check(buffers, overlaps, plan.offsets)
    assert plan.arena_bytes >= plan.lower_bound
    assert all(offset % 8 == 0 for offset in plan.offsets)
    apart = plan_memory(buffers, alignment=8, exact_nodes=10_000)
    assert plan.arena_bytes <= apart.arena_bytes * 1.25 + 8
