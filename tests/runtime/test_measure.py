"""Random inputs, benchmarks, and the comparison with onnxruntime."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from native_kit import SIZE, chain

from optc.errors import ModelError, UsageError
from optc.program import TensorInfo
from optc.runtime import load
from optc.runtime.bench import bench
from optc.runtime.random_inputs import random_inputs
from optc.runtime.verify import compare, verify

Build = Callable[..., Path]
NEGATE = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 18]> agraph (float[1000] x) => (float[1000] y) { y = Neg(x) }'
).SerializeToString()


def test_random_inputs() -> None:
    infos = [
        TensorInfo("image", "float32", (1, None, 64)),
        TensorInfo("half", "float16", (3,)),
        TensorInfo("pixels", "uint8", (1000,)),
        TensorInfo("tokens", "int64", (None, 500)),
        TensorInfo("mask", "bool", (100,)),
        TensorInfo("brain", "bfloat16", (5,)),
        TensorInfo("wave", "complex64", (5,)),
        TensorInfo("scalar", "float64", ()),
    ]
    values = random_inputs(infos, dynamic=3)
    assert [value.shape for value in values.values()] == [
        (1, 3, 64), (3,), (1000,), (3, 500), (100,), (5,), (5,), (),
    ]  # fmt: skip
    assert [value.dtype.name for value in values.values()] == [info.dtype for info in infos]
    assert set(values["tokens"].ravel()) == {0, 1}
    assert values["pixels"].min() < 5 and values["pixels"].max() > 250
    for name, value in random_inputs(infos, dynamic=3).items():
        np.testing.assert_array_equal(value, values[name])
    assert not np.array_equal(random_inputs(infos, seed=1, dynamic=3)["image"], values["image"])
    with pytest.raises(UsageError, match="random values cannot be made for input 's'"):
        random_inputs([TensorInfo("s", "object", (1,))])


def test_bench(build: Build) -> None:
    with load(build(chain("square")), threads=2) as model:
        result = bench(model, seconds=0.05, threads=1)
        assert model.threads == 2
        assert result.threads == 1
        assert result.runs >= 5
        assert 0 < result.min <= result.p05 <= result.median <= result.p95 < 0.05
        json.dumps(result.to_dict())


def test_verify(build: Build, tmp_path: Path) -> None:
    reference = tmp_path / "reference.onnx"
    reference.write_bytes(NEGATE)
    with load(build(chain("negate"))) as model:
        for source in (reference, NEGATE):
            result = verify(model, source, runs=3)
            assert result.passed and result.runs == 3
            assert result.worst.max_abs == 0 and result.worst.snr_db == math.inf
            json.dumps(result.to_dict(), allow_nan=False)
        special = np.full(SIZE, np.nan, np.float32)
        assert verify(model, NEGATE, inputs={"x": special}).passed
        with pytest.raises(ModelError, match="onnxruntime cannot load the reference model"):
            verify(model, b"not a model")


def test_verify_finds_a_difference(build: Build) -> None:
    with load(build(chain("twice"))) as model:
        x = np.linspace(-1, 1, SIZE, dtype=np.float32)
        result = verify(model, NEGATE, inputs={"x": x})
        assert not result.passed
        assert result.worst.name == "y"
        assert result.worst.max_abs == pytest.approx(3)
        assert result.worst.relative == pytest.approx(1.5)
        assert result.worst.snr_db == pytest.approx(20 * math.log10(1 / 3), abs=1e-4)
        json.dumps(result.to_dict(), allow_nan=False)


def error(found: object, expected: object) -> tuple[float, float, bool, bool]:
    (result,) = compare({"y": np.asarray(found)}, {"y": np.asarray(expected)})
    return result.max_abs, result.relative, result.same_special, result.same_shape


def test_compare() -> None:
    assert error([1.0, 2.0], [1.0, 3.0]) == (1.0, 0.5, True, True)
    assert error([5.0, 5.0], [4.0, 4.0]) == (1.0, 0.25, True, True)
    assert error([0.5], [0.0]) == (0.5, 0.5, True, True)
    assert error([np.inf, np.nan, 1], [np.inf, np.nan, 1]) == (0.0, 0.0, True, True)
    assert error([np.inf, 1.0], [-np.inf, 1.0]) == (0.0, 0.0, False, True)
    assert error([1.0, 1.0], [np.nan, 1.0]) == (0.0, 0.0, False, True)
    assert error([True, False], [True, True])[:2] == (1.0, 1.0)
    assert error([3], [3.0])[3] is False
    assert error([[1.0]], [1.0])[3] is False
    assert error(np.empty((0, 2)), np.empty((0, 2))) == (0.0, 0.0, True, True)
    assert error([1j], [1 + 1j])[0] == 1.0
    (strings,) = compare({"s": np.array(["a"], object)}, {"s": np.array(["b"], object)})
    assert not strings.within(1.0)
    (missing,) = compare({}, {"s": np.zeros(1)})
    assert not missing.within(1e9)


FLOATS = hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e3, 1e3, width=32))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(FLOATS, st.floats(1e-3, 1e3))
def test_relative_error_does_not_depend_on_scale(reference: np.ndarray, scale: float) -> None:
    found = reference[::-1]
    (plain,) = compare({"y": found}, {"y": reference})
    (scaled,) = compare({"y": found * scale}, {"y": reference * scale})
    assert scaled.max_abs == pytest.approx(plain.max_abs * scale)
    assert scaled.relative == pytest.approx(plain.relative, rel=1e-6)
    assert scaled.snr_db == pytest.approx(plain.snr_db)
    assert plain.relative <= 1.0
