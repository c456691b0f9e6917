"""Layered drawings: edges point down, boxes never touch, and the same graph gives the same picture."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.report.layered import layered


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 24))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    return count, sorted(draw(st.sets(st.sampled_from(pairs), max_size=40))) if pairs else []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs())
def test_edges_point_down_and_boxes_do_not_touch(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    drawn = layered(count, edges)
    assert len(drawn.places) == count and len(drawn.paths) == len(edges)
    for (source, target), path in zip(edges, drawn.paths, strict=True):
        assert path[0] == drawn.places[source] and path[-1] == drawn.places[target]
        assert all(upper[1] + 1 == lower[1] for upper, lower in pairwise(path))
    for layer in range(drawn.layers):
        across = sorted(x for x, at in drawn.places if at == layer)
        assert across and across[0] >= 0.5 - 1e-9 and across[-1] <= drawn.width - 0.5 + 1e-9
        assert all(b - a >= 1 - 1e-9 for a, b in pairwise(across))
    assert layered(count, edges) == drawn


def test_a_chain_is_straight_and_nothing_is_empty() -> None:
    drawn = layered(4, [(0, 1), (1, 2), (2, 3)])
    assert drawn.places == [(0.5, 0), (0.5, 1), (0.5, 2), (0.5, 3)] and drawn.width == 1.0
    assert layered(0, []).layers == 0


def test_edges_against_the_order_are_refused() -> None:
    with pytest.raises(ValueError, match="from lower to higher"):
        layered(2, [(1, 0)])
