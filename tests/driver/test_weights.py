"""The weights file: what is stored, once, and where."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.driver.program.assembly import Weights

ALPHABET = (0, 0, 0, 1)  # few values, so that arrays often differ in one place that no sample sees


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.lists(st.sampled_from(ALPHABET), min_size=0, max_size=300), max_size=6))
def test_equal_arrays_share_a_place(contents: list[list[int]]) -> None:
    arrays = [np.array(values, np.uint8) for values in contents]
    weights = Weights()
    places = [weights.place(array) for array in arrays]
    stored = b"".join(weights.chunks)
    assert len(stored) == weights.size
    for array, place in zip(arrays, places, strict=True):
        assert place.offset % 64 == 0
        assert stored[place.offset : place.offset + place.bytes] == array.tobytes()
    distinct = {array.tobytes() for array in arrays}
    assert len({(place.offset, place.bytes) for place in places}) == len(distinct)


def test_one_byte_that_no_sample_sees_tells_arrays_apart() -> None:
    one = np.zeros(1 << 16, np.uint8)
    other = one.copy()
    other[12345] = 1
    weights = Weights()
    assert weights.place(one).offset != weights.place(other).offset
    assert weights.place(one.copy()) == weights.place(one)


def test_packed_and_plain_have_places_of_their_own() -> None:
    weights = Weights()
    constant = np.arange(6, dtype=np.float32).reshape(2, 3)
    plain, packed = weights.place(constant), weights.place(constant, "transpose", lambda array: array.T)
    assert plain.offset != packed.offset
    assert weights.place(constant, "transpose", lambda array: array.T) == packed


def test_packed_bytes_are_counted_once_and_by_template() -> None:
    weights = Weights()
    constant = np.ones((4, 16), np.float32)
    weights.place(constant)
    for _ in range(2):
        weights.place(constant, "twice", lambda array: np.concatenate([array, array]), "winograd")
    weights.place(constant, "panels", lambda array: 2 * array, "gemm")
    weights.place(constant, "same", lambda array: array, "conv2d")
    assert weights.packed == {"winograd": 512, "gemm": 256, "conv2d": 0}
    assert weights.size == 1024
