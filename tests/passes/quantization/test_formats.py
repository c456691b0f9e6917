"""Number formats against ml_dtypes, NumPy's casts, and the definition: the nearest number of a listed set."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.errors import UsageError
from optc.passes.quantization.formats import (
    FORMATS,
    BlockFormat,
    FloatFormat,
    Format,
    IntegerFormat,
    format_of,
)
from optc.passes.quantization.rounding import ROUNDINGS

CASTS = {
    "fp16": (FloatFormat(5, 10), np.float16),
    "bf16": (FloatFormat(8, 7), ml_dtypes.bfloat16),
    "e4m3fn": (FloatFormat(4, 3, "nan"), ml_dtypes.float8_e4m3fn),
    "e5m2": (FloatFormat(5, 2), ml_dtypes.float8_e5m2),
    "e3m4": (FloatFormat(3, 4), ml_dtypes.float8_e3m4),
    "e4m3": (FloatFormat(4, 3), ml_dtypes.float8_e4m3),
    "e4m3fnuz": (FloatFormat(4, 3, "zero-nan"), ml_dtypes.float8_e4m3fnuz),
    "e5m2fnuz": (FloatFormat(5, 2, "zero-nan"), ml_dtypes.float8_e5m2fnuz),
    "e4m3b11fnuz": (FloatFormat(4, 3, "zero-nan", 11), ml_dtypes.float8_e4m3b11fnuz),
    "e2m3": (FloatFormat(2, 3, "none"), ml_dtypes.float6_e2m3fn),
    "e3m2": (FloatFormat(3, 2, "none"), ml_dtypes.float6_e3m2fn),
    "e2m1": (FloatFormat(2, 1, "none"), ml_dtypes.float4_e2m1fn),
}


def numbers(dtype: type) -> np.ndarray:
    """All finite numbers of a small type, in order."""
    width = np.dtype(dtype).itemsize * 8
    codes = np.arange(1 << width, dtype=np.uint64).astype(f"uint{width}")
    with np.errstate(invalid="ignore"):
        values = codes.view(dtype).astype(np.float64)
    return np.unique(values[np.isfinite(values)])


@pytest.mark.parametrize("name", CASTS)
def test_every_number_stays_and_the_largest_is_known(name: str) -> None:
    format, dtype = CASTS[name]
    every = numbers(dtype)
    np.testing.assert_array_equal(format.round(every), every)
    assert format.largest == every[-1] == float(ml_dtypes.finfo(dtype).max)


@pytest.mark.parametrize("name", CASTS)
def test_rounding_agrees_with_casts(name: str) -> None:
    format, dtype = CASTS[name]
    assert isinstance(format, FloatFormat)
    random = np.random.default_rng(1)
    every = numbers(dtype)
    middles = (every[1:] + every[:-1]) / 2
    beyond = random.uniform(-1.5, 1.5, 2000) * min(format.largest, 2e38)
    values = np.concatenate([middles, random.normal(0, 1, 2000), beyond])
    values = np.concatenate([values, values * 2.0 ** random.integers(-12, 0, len(values))]).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = values.astype(dtype).astype(np.float64)
    rounded = format.round_unbounded(values)
    inside = np.abs(rounded) <= format.largest
    np.testing.assert_array_equal(rounded[inside], expected[inside])
    if format.special != "none":  # types without infinity and NaN saturate, as `round` does
        assert not np.isfinite(expected[~inside]).any()
    np.testing.assert_array_equal(np.abs(format.round(values)[~inside]), format.largest)


@pytest.mark.parametrize("mode", ROUNDINGS)
def test_every_mode_gives_a_neighbour(mode: str) -> None:
    format = FloatFormat(4, 3, "nan")
    every = numbers(ml_dtypes.float8_e4m3fn)
    values = np.random.default_rng(2).uniform(-440, 440, 3000)
    rounded = format.round(values, mode)
    below = every[np.searchsorted(every, values, "right") - 1]
    above = every[np.searchsorted(every, values, "left")]
    assert ((rounded == below) | (rounded == above)).all()
    bound = {"up": above, "down": below, "zero": np.where(values > 0, below, above)}
    bound["away"] = np.where(values > 0, above, below)
    if mode in bound:
        np.testing.assert_array_equal(rounded, bound[mode])


def test_ties() -> None:
    ties = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    expected = {
        "nearest-even": [-2, -2, 0, 0, 2, 2],
        "nearest-odd": [-3, -1, -1, 1, 1, 3],
        "nearest-up": [-2, -1, 0, 1, 2, 3],
        "nearest-down": [-3, -2, -1, 0, 1, 2],
        "nearest-away": [-3, -2, -1, 1, 2, 3],
        "nearest-zero": [-2, -1, 0, 0, 1, 2],
        "odd": [-3, -1, -1, 1, 1, 3],
    }
    for mode, whole in expected.items():
        np.testing.assert_array_equal(IntegerFormat(8).round(ties, mode), whole, err_msg=mode)


def test_stochastic_rounding_is_unbiased_and_repeatable() -> None:
    values = np.full(20_000, 0.3)
    rounded = IntegerFormat(8).round(values, "stochastic", seed=5)
    assert abs(rounded.mean() - 0.3) < 0.015
    assert abs(IntegerFormat(8).round(values, "coin").mean() - 0.5) < 0.015
    np.testing.assert_array_equal(rounded, IntegerFormat(8).round(values, "stochastic", seed=5))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 8), st.booleans(), st.lists(st.floats(-300, 300), min_size=1, max_size=20))
def test_integers_are_the_nearest_codes(width: int, signed: bool, values: list[float]) -> None:
    codes = np.arange(-(1 << (width - 1)), 1 << (width - 1)) if signed else np.arange(1 << width)
    format = format_of(f"{'' if signed else 'u'}int{width}")
    for value, rounded in zip(values, format.round(np.array(values)), strict=True):
        assert rounded in codes
        assert abs(value - rounded) == np.abs(value - codes).min()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(FORMATS)), st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40))
def test_rounding_twice_changes_nothing_and_keeps_the_order(name: str, values: list[float]) -> None:
    format = FORMATS[name]
    once = format.round(np.array(values))
    np.testing.assert_array_equal(format.round(once), once)
    assert np.isfinite(once).all()
    order = np.argsort(values, kind="stable")
    if not isinstance(format, BlockFormat):
        assert (np.diff(once[order]) >= 0).all()


def test_infinities_saturate_and_nan_stays() -> None:
    for name, format in FORMATS.items():
        if isinstance(format, BlockFormat):
            continue
        rounded = format.round(np.array([np.inf, -np.inf, np.nan]))
        np.testing.assert_array_equal(rounded, [format.largest, -format.largest, np.nan], err_msg=name)


def test_blocks_share_the_exponent_of_their_largest_element() -> None:
    """A 4-bit integer reaches 7: units of 1 hold a block up to 5, units of 1/64 one up to 0.07."""
    format = BlockFormat(IntegerFormat(4), size=4)
    np.testing.assert_array_equal(
        format.round(np.array([5.0, 0.4, -1.6, 3.0, 0.05, 0.02, 0.0, -0.07])),
        [5.0, 0.0, -2.0, 3.0, 0.046875, 0.015625, 0.0, -0.0625],
    )
    assert format.bits == 6.0


def test_blocks_of_floats_against_their_definition() -> None:
    """The Microscaling specification's own steps on each block, written out."""
    random = np.random.default_rng(3)
    values = random.normal(0, 1, (3, 70)) * 2.0 ** random.integers(-20, 20, (3, 1))
    rounded = FORMATS["mxfp4"].round(values)
    for row, result in zip(values, rounded, strict=True):
        for begin in range(0, 70, 32):
            block = row[begin : begin + 32]
            scale = 2.0 ** (np.floor(np.log2(np.abs(block).max())) - 2)
            expected = np.clip(block / scale, -6, 6).astype(ml_dtypes.float4_e2m1fn).astype(np.float64) * scale
            np.testing.assert_array_equal(result[begin : begin + 32], expected)


def test_names() -> None:
    assert format_of("e3m4") == FloatFormat(3, 4)
    assert format_of("int4") == IntegerFormat(4)
    assert format_of("dfp8") == BlockFormat(IntegerFormat(8))
    assert {name: format.bits for name, format in FORMATS.items() if name.startswith("mx")} == {
        "mxfp8-e4m3": 8.25,
        "mxfp8-e5m2": 8.25,
        "mxfp6-e2m3": 6.25,
        "mxfp6-e3m2": 6.25,
        "mxfp4": 4.25,
        "mxint8": 8.25,
    }
    with pytest.raises(UsageError) as caught:
        format_of("fp8-e4m4")
    assert str(caught.value) == (
        "no number format is called 'fp8-e4m4'\n  hint: did you mean 'fp8-e4m3' or 'mxfp8-e4m3' or 'fp8-e5m2'?"
    )
    bad: Format = FORMATS["bf16"]
    with pytest.raises(UsageError, match="no rounding is called 'nearst-even'"):
        bad.round(np.zeros(1), "nearst-even")
