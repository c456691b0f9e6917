"""Encodings of the values at a cut: their error is bounded, and no bytes can harm who decodes them."""

from __future__ import annotations

import math
import tracemalloc
from importlib.util import find_spec

import ml_dtypes
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from optc.artifact.split_record import CutTensor
from optc.errors import OptcError
from optc.runtime.split.codec import Codec, CodecFault, Place, encodings, open_codec
from optc.runtime.split.codec.affine import channel_axis

EXACT = settings(derandomize=True, deadline=None, max_examples=40)
BITS = range(2, 9)
CODECS = ["raw", "lossless", "q2", "q4", "q8", *(["r2", "r4", "r8"] if find_spec("constriction") else [])]
_shapes = st.sampled_from([(), (5,), (1, 10), (3, 40), (1, 4, 6, 6), (1, 40, 8), (2, 3, 4, 2, 5), (1, 0, 4)])


def codec(name: str, shape: tuple[int, ...], dtype: str = "float32") -> Codec:
    return open_codec(Place(CutTensor("h", dtype, shape, name, 0)))


@EXACT
@given(st.data(), _shapes, st.sampled_from(["float32", "uint8", "bool", "int64", "float16"]))
def test_lossless_encodings_are(data: st.DataObject, shape: tuple[int, ...], dtype: str) -> None:
    array = data.draw(arrays.arrays(dtype, shape))
    for name in ("raw", "lossless"):
        found = codec(name, shape, dtype).decode(codec(name, shape, dtype).encode(array))
        assert found.dtype == array.dtype and found.shape == array.shape
        assert found.tobytes() == array.tobytes()


@EXACT
@given(st.data(), _shapes, st.sampled_from(BITS))
def test_quantization_error_is_bounded(data: st.DataObject, shape: tuple[int, ...], bits: int) -> None:
    """Half a step of the channel's range, which bfloat16 makes up to 1/128 of its ends wider."""
    floats = st.floats(-1e6, 1e6, width=32)
    array = data.draw(arrays.arrays(np.float32, shape, elements=floats))
    coder = codec(f"q{bits}", shape)
    found = coder.decode(coder.encode(array))
    assert found.dtype == array.dtype and found.shape == array.shape
    axis = channel_axis(shape)
    rest = tuple(i for i in range(len(shape)) if i != axis)
    if array.size:
        low, high = array.min(rest, keepdims=True), array.max(rest, keepdims=True)
        width = (high - low) + (abs(high) + abs(low)) / 128
        assert np.all(abs(found - array) <= (width / ((1 << bits) - 1) * 0.5 + 1e-5 * abs(width)) + 1e-30)


@EXACT
@given(st.data(), _shapes, st.sampled_from(BITS))
def test_counting_changes_bytes_only(data: st.DataObject, shape: tuple[int, ...], bits: int) -> None:
    pytest.importorskip("constriction")
    array = data.draw(arrays.arrays(np.float32, shape, elements=st.floats(-9, 9, width=32)))
    plain, counted = codec(f"q{bits}", shape), codec(f"r{bits}", shape)
    assert np.array_equal(counted.decode(counted.encode(array)), plain.decode(plain.encode(array)))


def test_counting_pays_where_channels_differ() -> None:
    pytest.importorskip("constriction")
    generator = np.random.default_rng(0)
    scales = np.linspace(0.05, 2, 16).reshape(1, 16, 1, 1)
    array = np.tanh(generator.standard_normal((1, 16, 16, 16)) * scales).astype(np.float32)
    sizes = {name: len(bytes(codec(name, array.shape).encode(array))) for name in ("q2", "r2", "q4", "r4")}
    assert sizes["r2"] < 0.95 * sizes["q2"] and sizes["r4"] < sizes["q4"]


@pytest.mark.parametrize("bits", BITS)
def test_rectified_zeros_stay_zero(bits: int) -> None:
    array = np.maximum(np.random.default_rng(0).standard_normal((1, 8, 9, 9)), 0).astype(np.float32)
    coder = codec(f"q{bits}", array.shape)
    data = coder.encode(array)
    assert np.all(coder.decode(data)[array == 0] == 0)
    assert len(bytes(data)) < array.size * bits / 8 + 200


def test_fewer_bits_make_fewer_bytes() -> None:
    array = np.random.default_rng(0).standard_normal((1, 16, 16, 16)).astype(np.float32)
    sizes = [len(bytes(codec(f"q{bits}", array.shape).encode(array))) for bits in BITS]
    assert sizes == sorted(sizes)
    assert sizes[-1] < array.nbytes / 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3.4e38])
def test_values_without_a_code_come_through(value: float) -> None:
    array = np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype(np.float32)
    array[0, 1, 2, 3], array[0, 2] = value, -3.4e38
    found = codec("q4", array.shape).decode(codec("q4", array.shape).encode(array))
    assert found[0, 1, 2, 3].tobytes() == array[0, 1, 2, 3].tobytes()


def test_other_types_are_quantized_or_kept() -> None:
    array = np.linspace(-3, 3, 128).astype(ml_dtypes.bfloat16).reshape(1, 2, 8, 8)
    found = codec("q8", array.shape, "bfloat16").decode(codec("q8", array.shape, "bfloat16").encode(array))
    assert found.dtype == array.dtype
    assert abs(found.astype(np.float32) - array.astype(np.float32)).max() < 0.03
    whole = np.arange(128).reshape(1, 2, 8, 8)
    integers = codec("q4", whole.shape, "int64")
    assert np.array_equal(integers.decode(integers.encode(whole)), whole)


@EXACT
@given(st.sampled_from(CODECS), st.binary(max_size=200), st.data())
def test_garbage_is_refused_or_decoded(name: str, garbage: bytes, data: st.DataObject) -> None:
    shape = (1, 4, 6, 6)
    coder = codec(name, shape)
    good = bytes(coder.encode(np.random.default_rng(0).standard_normal(shape).astype(np.float32)))
    at = data.draw(st.integers(0, len(good) - 1))
    for content in (garbage, good[:at], good[:at] + garbage, good + garbage, good[:at] + b"\xff" + good[at + 1 :]):
        try:
            found = coder.decode(content)
        except CodecFault as fault:
            assert str(fault)
        else:
            assert found.shape == shape and found.dtype == np.float32


@pytest.mark.parametrize("name", ["lossless", "q8"])
@pytest.mark.parametrize("stated", [True, False])
def test_bombs_are_not_unpacked(name: str, stated: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=stated).compress(bytes(64 << 20))
    coder = codec(name, (1, 4, 6, 6))
    tracemalloc.start()
    with pytest.raises(CodecFault, match="compressed bytes"):
        coder.decode(b"\0" + bomb if name == "q8" else bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_faults_say_what_is_wrong() -> None:
    cases = {
        "3 bytes are no value of 16": ("raw", b"abc"),
        "quantized values begin with an unknown byte": ("q4", b"\x07"),
        "compressed bytes state a content of 1 bytes, and 16 are due": ("lossless", zstandard.compress(b"a")),
        "a code is above 3": ("q2", b"\0" + zstandard.compress(bytes(4) + b"\4" + bytes(3))),
        "the range of a channel is none": ("q2", b"\0" + zstandard.compress(b"\x80\x3f\0\0" + bytes(4))),
    }
    for text, (name, content) in cases.items():
        with pytest.raises(CodecFault) as caught:
            codec(name, (1, 4)).decode(content)
        assert str(caught.value) == text
    with pytest.raises(CodecFault, match="a truth value is neither 0 nor 1"):
        codec("raw", (2,), "bool").decode(b"\1\2")


def test_an_unknown_encoding_is_named() -> None:
    assert {"raw", "lossless", "q2", "q8"} <= set(encodings())
    with pytest.raises(OptcError) as caught:
        codec("losless", (1,))
    assert str(caught.value) == (
        "no encoding is called 'losless'\n  at 'h' of split.json\n  hint: did you mean 'lossless'?"
    )
