"""The figures against their definitions, written out pair by pair."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.costmodel import metrics

pairs = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=2, max_size=30)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(pairs)
def test_kendall_is_tau_b(rows):
    left, right = (np.array(side, float) for side in zip(*rows, strict=True))
    score = sum(np.sign((a - b) * (c - d)) for (a, c), (b, d) in combinations(zip(left, right, strict=True), 2))
    untied = [sum(a != b for a, b in combinations(side, 2)) for side in (left, right)]
    scale = np.sqrt(float(untied[0]) * float(untied[1]))
    found = metrics.kendall(left, right)
    assert np.isnan(found) if scale == 0 else found == pytest.approx(score / scale)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(pairs)
def test_spearman_is_the_correlation_of_mean_ranks(rows):
    left, right = (np.array(side, float) for side in zip(*rows, strict=True))
    mean_ranks = [
        [(sum(b < a for b in side) + sum(b <= a for b in side) - 1) / 2 for a in side] for side in (left, right)
    ]
    found = metrics.spearman(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(mean_ranks)[0, 1])


def test_errors_and_shares():
    found = metrics.evaluate([10, 10, 10, 10], [10, 10.5, 11, 12], [9, 9, 9, 9], [9.5, 10, 11, 12])
    assert (found.mape, found.median_ape) == (pytest.approx(8.75), pytest.approx(7.5))
    assert (found.within_5, found.within_10, found.coverage) == (0.5, 0.75, 0.75)
    assert found.rows == 4


def test_regret_counts_the_best_of_the_tried():
    assert metrics.regret([3, 2, 1], [1, 2, 3]) == pytest.approx(2.0)
    assert metrics.regret([3, 2, 1], [1, 2, 3], k=2) == pytest.approx(1.0)
    assert metrics.regret([3, 2, 1], [1, 2, 3], k=3) == 0.0
    groups = {"a": ([3, 1], [1, 2]), "b": ([1, 3], [1, 2])}
    assert metrics.mean_regret(groups) == pytest.approx(3**0.5 - 1)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="2 measurements and 1 predictions cannot be compared"):
        metrics.evaluate([1, 2], [1])
