"""Orders of tasks: valid, and on small graphs as good as the best of all orders."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from optc.passes.memory.sequence import Task, least_peak, peak_of

Graph = tuple[list[Task], list[int]]


@st.composite
def graphs(draw: st.DrawFn, most: int = 6) -> Graph:
    """Each task makes one buffer and reads those of some earlier tasks."""
    count = draw(st.integers(1, most))
    tasks = []
    for index in range(count):
        read = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        tasks.append(Task(frozenset(read), frozenset({index, *read})))
    return tasks, draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))


def live_bytes(tasks: list[Task], sizes: list[int], order: tuple[int, ...]) -> int:
    """The peak by looking at every buffer at every moment."""
    worst = 0
    for moment in range(len(order)):
        live = 0
        for buffer, size in enumerate(sizes):
            times = [time for time, task in enumerate(order) if buffer in tasks[task].touches]
            live += size if times and times[0] <= moment <= times[-1] else 0
        worst = max(worst, live)
    return worst


def is_valid(tasks: list[Task], order: tuple[int, ...]) -> bool:
    return all(set(order[:time]) >= tasks[task].after for time, task in enumerate(order))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(graphs())
def test_small_graphs_get_the_best_of_all_orders(graph: Graph) -> None:
    tasks, sizes = graph
    orders = [order for order in permutations(range(len(tasks))) if is_valid(tasks, order)]
    best = min(live_bytes(tasks, sizes, order) for order in orders)
    found = least_peak(tasks, sizes)
    assert is_valid(tasks, found.order) and sorted(found.order) == list(range(len(tasks)))
    assert found.peak == live_bytes(tasks, sizes, found.order) == best


@settings(max_examples=40, deadline=None, derandomize=True)
@given(graphs(14))
def test_a_search_that_is_cut_short_still_gives_a_valid_order(graph: Graph) -> None:
    tasks, sizes = graph
    found = least_peak(tasks, sizes, states=2)
    assert is_valid(tasks, found.order) and sorted(found.order) == list(range(len(tasks)))
    assert found.peak == peak_of(tasks, sizes, found.order) <= peak_of(tasks, sizes, range(len(tasks)))


def test_branches_are_finished_one_after_the_other() -> None:
    """Source order makes every branch large before it makes any small: 4 x 100 at once instead of 100."""
    start = [Task(frozenset(), frozenset({0}))]
    grow = [Task(frozenset({0}), frozenset({0, 1 + i})) for i in range(4)]
    shrink = [Task(frozenset({1 + i}), frozenset({1 + i, 5 + i})) for i in range(4)]
    join = [Task(frozenset({5, 6, 7, 8}), frozenset({5, 6, 7, 8, 9}))]
    sizes = [1, 100, 100, 100, 100, 1, 1, 1, 1, 4]
    found = least_peak(start + grow + shrink + join, sizes)
    assert found.order == (0, 1, 5, 2, 6, 3, 7, 4, 8, 9)
    assert (peak_of(start + grow + shrink + join, sizes, range(10)), found.peak) == (401, 104)
