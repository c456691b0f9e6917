"""Packed constants against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.backends.tvm.math.winograd import transform_weights, weight_matrix
from optc.backends.tvm.packing import Packing


@settings(derandomize=True, deadline=None, max_examples=30)
@given(rows=st.lists(st.integers(1, 5), max_size=2), columns=st.integers(1, 40), width=st.integers(1, 24))
def test_panels_follow_each_other(rows: list[int], columns: int, width: int) -> None:
    array = np.random.default_rng(0).normal(size=(*rows, columns)).astype(np.float32)
    matrix = array.reshape(-1, columns)
    expected = [value for first in range(0, columns, width) for value in matrix[:, first : first + width].flat]
    packed = Packing((("panels", (width,)),)).pack(array)
    np.testing.assert_array_equal(packed, expected)


def test_panels_of_a_transposed_matrix() -> None:
    array = np.arange(6 * 10, dtype=np.float32).reshape(6, 10)
    packed = Packing((("transpose", (1, 0)), ("panels", (4,)))).pack(array)
    np.testing.assert_array_equal(packed, [*array.T[:, :4].flat, *array.T[:, 4:].flat])


@pytest.mark.parametrize("m", (2, 4))
@pytest.mark.parametrize("shape", ((3, 5), (90, 50)))  # the second takes more than one batch of windows
def test_transformed_weights(m: int, shape: tuple[int, int]) -> None:
    weights = np.random.default_rng(1).normal(size=(*shape, 3, 3)).astype(np.float32)
    factors = weight_matrix(m)
    expected = np.einsum("ik,...kl,jl->...ij", factors, weights.astype(np.float64), factors)
    found = transform_weights(weights, m)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.reshape(*shape, -1), rtol=2e-7, atol=1e-9)
