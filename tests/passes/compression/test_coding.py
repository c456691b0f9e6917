"""Planes, levels, frames and steps: exact round trips, sizes near the entropy, damage that is noticed."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from optc.errors import OptcError
from optc.passes.compression.codec import decode, encode
from optc.passes.compression.entropy import entropy_bits, geometric_bits
from optc.passes.compression.levels import decode_levels, encode_levels
from optc.passes.compression.planes import join, plane_types, split
from optc.passes.compression.steps import levels_of, steps_for

TYPES = ("<f4", "<f8", "<f2", "i1", "<u2", "<i8", ml_dtypes.bfloat16)


@pytest.mark.parametrize("name", TYPES)
def test_planes_join_to_the_same_bits(name: object) -> None:
    dtype = np.dtype(name)
    octets = np.random.default_rng(0).integers(0, 256, 1000 * dtype.itemsize, np.uint8)
    values = octets.view(dtype)
    planes = split(values)
    assert [plane.dtype.str[1:] for plane in planes] == list(plane_types(dtype))
    out = np.empty_like(values)
    join(planes, out)
    assert out.tobytes() == values.tobytes()


def test_the_first_plane_is_the_exponent() -> None:
    values = np.array([1.0, -1.5, 2.0, -0.25], np.float32)
    assert split(values)[0].tolist() == [127, 127, 128, 125]
    assert split(values.astype(ml_dtypes.bfloat16))[0].tolist() == [127, 127, 128, 125]


@given(arrays.arrays(np.int32, st.integers(0, 300), elements=st.integers(-(2**31), 2**31 - 1)))
@settings(derandomize=True, max_examples=30, deadline=None)
def test_levels_come_back(levels: np.ndarray) -> None:
    for bound in (2**31, 300, 100, 7, 2, 1):
        small = (levels.astype(np.int64) % (2 * bound) - bound).astype(np.int32)
        coded = encode_levels(small)
        found = decode_levels(coded.frame, coded.packing, coded.size, len(small), "f")
        np.testing.assert_array_equal(found, small)


@pytest.mark.parametrize(("spread", "more"), [(0.25, 1.4), (0.5, 1.1), (1.0, 1.06), (3.0, 1.03)])
def test_levels_take_little_more_than_their_entropy(spread: float, more: float) -> None:
    levels = np.rint(np.random.default_rng(1).laplace(scale=spread, size=60_000)).astype(np.int32)
    coded = encode_levels(levels)
    assert entropy_bits(levels) <= 8 * len(coded.frame) <= more * entropy_bits(levels) + 8 * 100


def test_the_geometric_distribution_has_the_most_entropy() -> None:
    random = np.random.default_rng(2)
    for scale in (0.3, 1.0, 5.0):
        levels = np.rint(random.normal(scale=scale, size=50_000)).astype(np.int32)
        assert entropy_bits(levels) / levels.size < geometric_bits(np.abs(levels).mean())
    ratio, tail = 0.6, np.arange(-200, 201)
    shares = (1 - ratio) / (1 + ratio) * ratio ** np.abs(tail)
    exact = -(shares * np.log2(shares)).sum()
    assert geometric_bits((shares * np.abs(tail)).sum()) == pytest.approx(exact, rel=1e-6)


def test_steps_spend_the_bits_where_they_count() -> None:
    random = np.random.default_rng(3)
    weights = {name: random.normal(size=20_000).astype(np.float32) for name in ("dull", "keen")}
    steps = steps_for(weights, {"dull": 1.0, "keen": 100.0}, 3.0 * 40_000)
    assert steps["dull"] == pytest.approx(10.0 * steps["keen"], rel=1e-5)
    bits = {name: entropy_bits(levels_of(weights[name], steps[name])) for name in weights}
    assert sum(bits.values()) == pytest.approx(3.0 * 40_000, rel=0.01)

    def error(chosen: dict[str, float]) -> float:
        parts = [np.square(levels_of(weights[n], s) * s - weights[n]).mean() for n, s in chosen.items()]
        return float(parts[0] + 100.0 * parts[1])

    even = steps_for(weights, {"dull": 1.0, "keen": 1.0}, 3.0 * 40_000)
    assert error(steps) < 0.5 * error(even)


def test_damage_is_noticed() -> None:
    frame = bytearray(encode(b"some numbers" * 50, matches=True))
    assert decode(bytes(frame), 600, "m.optcz") == b"some numbers" * 50
    with pytest.raises(OptcError, match=r"the file is damaged\n  at m\.optcz\n  a part has another size"):
        decode(bytes(frame), 599, "m.optcz")
    frame[-1] ^= 1
    with pytest.raises(OptcError, match=r"the file is damaged\n  at m\.optcz"):
        decode(bytes(frame), 600, "m.optcz")
