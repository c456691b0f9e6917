"""Memory plans: valid by an independent check, never below the bound, and near the optimum on small cases."""

from __future__ import annotations

from itertools import permutations
from unittest.mock import ANY

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.passes.memory.exact import Packing, pack
from optc.passes.memory.greedy import place_in_order
from optc.passes.memory.plan import SOLVERS, Buffer, live_peak, plan_memory

buffer_lists = st.lists(
    st.builds(
        lambda start, length, size: Buffer(start, start + length, size),
        st.integers(0, 12),
        st.integers(1, 6),
        st.integers(0, 5).map(lambda blocks: blocks * 64),
    ),
    max_size=12,
)


def assert_valid(buffers: list[Buffer], offsets: tuple[int, ...], arena_bytes: int) -> None:
    """Byte by byte and step by step: nobody writes where another one lives. Independent of the planner's intervals."""
    for step in range(max((each.end for each in buffers), default=0)):
        owner: dict[int, int] = {}
        for index, (each, offset) in enumerate(zip(buffers, offsets, strict=True)):
            if each.start <= step < each.end:
                for block in range(offset, offset + each.size):
                    assert block not in owner, f"buffers {owner[block]} and {index} share byte {block} at step {step}"
                    owner[block] = index
        assert all(0 <= block < arena_bytes for block in owner)


def optimum(buffers: list[Buffer]) -> int:
    """The smallest arena: some order makes first fit optimal, so all orders are tried."""
    best = sum(each.size for each in buffers)
    for order in permutations(range(len(buffers))):
        tops = [offset + each.size for offset, each in zip(place_in_order(buffers, order), buffers, strict=True)]
        best = min(best, max(tops, default=0))
    return best


@settings(max_examples=150, deadline=None, derandomize=True)
@given(buffer_lists)
def test_plans_are_valid_and_bounded(buffers: list[Buffer]) -> None:
    plan = plan_memory(buffers)
    assert_valid(buffers, plan.offsets, plan.arena_bytes)
    assert all(offset % 64 == 0 for offset in plan.offsets)
    assert plan.lower_bound <= plan.arena_bytes <= sum(each.size for each in buffers)
    assert plan == plan_memory(buffers)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(buffer_lists.filter(lambda buffers: len(buffers) <= 6))
def test_plans_of_small_cases_are_optimal_and_say_so(buffers: list[Buffer]) -> None:
    plan = plan_memory(buffers)
    assert plan.arena_bytes == plan.least == optimum(buffers)
    assert plan.optimal


@settings(max_examples=60, deadline=None, derandomize=True)
@given(buffer_lists.filter(lambda buffers: 0 < sum(each.size for each in buffers) and len(buffers) <= 6))
def test_the_exact_search_fits_the_optimum_and_proves_that_less_is_impossible(buffers: list[Buffer]) -> None:
    problem = [each for each in buffers if each.size]
    best = optimum(problem)
    found = pack(problem, best, nodes=100_000)
    assert found.offsets is not None
    assert_valid(problem, found.offsets, best)
    assert pack(problem, best - 1, nodes=100_000) == Packing(None, True, ANY)


def test_a_packing_that_no_greedy_order_finds() -> None:
    """Sixty buffers cut out of a full rectangle, so that only a perfect packing fits."""
    random = np.random.default_rng(3)
    pieces = [(0, 40, 0, 40)]
    while len(pieces) < 60:
        start, end, low, high = pieces.pop(max(range(len(pieces)), key=lambda i: _area(pieces[i])))
        if random.random() < (end - start) / (end - start + high - low):
            cut = int(random.integers(start + 1, end))
            pieces += [(start, cut, low, high), (cut, end, low, high)]
        else:
            level = int(random.integers(low + 1, high))
            pieces += [(start, end, low, level), (start, end, level, high)]
    buffers = [Buffer(start, end, 64 * (high - low)) for start, end, low, high in pieces]
    assert plan_memory(buffers, exact_nodes=0).arena_bytes > 64 * 40
    plan = plan_memory(buffers)
    assert (plan.arena_bytes, plan.solver, plan.optimal) == (64 * 40, "exact", True)
    assert_valid(buffers, plan.offsets, plan.arena_bytes)


def _area(piece: tuple[int, int, int, int]) -> int:
    start, end, low, high = piece
    return (end - start) * (high - low)


def test_a_search_without_nodes_claims_nothing() -> None:
    buffers = [Buffer(0, 2, 64), Buffer(1, 3, 64)]
    assert pack(buffers, 128, nodes=0) == Packing(None, False, ANY)


def test_every_solver_is_valid() -> None:
    buffers = [Buffer(i % 7, i % 7 + 1 + i % 4, 64 * (1 + i * 37 % 11)) for i in range(40)]
    for name, solve in SOLVERS.items():
        offsets = tuple(solve(buffers))
        height = max(offset + each.size for offset, each in zip(offsets, buffers, strict=True))
        assert_valid(buffers, offsets, height), name


def test_alignment_rounds_sizes_and_offsets() -> None:
    plan = plan_memory([Buffer(0, 2, 1), Buffer(1, 3, 100), Buffer(1, 2, 65)], alignment=64)
    assert plan.lower_bound == 64 + 128 + 128
    assert plan.arena_bytes == plan.lower_bound
    assert sorted(offset % 64 for offset in plan.offsets) == [0, 0, 0]


def test_a_chain_needs_two_neighbours_at_a_time() -> None:
    sizes = [640, 1280, 320, 960, 64]
    plan = plan_memory([Buffer(step, step + 2, size) for step, size in enumerate(sizes)])
    assert plan.arena_bytes == plan.lower_bound == 640 + 1280


def test_nothing_to_place() -> None:
    assert plan_memory([]).arena_bytes == 0
    assert plan_memory([Buffer(0, 4, 0)]).offsets == (0,)


def test_live_peak_frees_before_it_takes() -> None:
    assert live_peak([Buffer(0, 1, 64), Buffer(1, 2, 64)]) == 64
