"""Regions that onnxruntime computes inside of a native program."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from native_kit import SIZE, input_at, output_at, slot, tensor

from optc.errors import OptcError
from optc.program import FallbackCall, KernelCall, Location, Program, TensorInfo
from optc.runtime import load
from optc.runtime.arrays import numpy_dtype
from optc.runtime.verify import verify

Build = Callable[..., Path]
X = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)


def region(text: str) -> bytes:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> {text}').SerializeToString()


TANH = region("agraph (float[1000] a) => (float[1000] b) { b = Tanh(a) }")
NONZERO = region("agraph (float[1000] a) => (int64[1, N] where) { p = Relu(a)  where = NonZero(p) }")
TAKE = region(
    "agraph (float[1000] b, int64[1, N] where) => (float[1, N] taken, int64[2] size)"
    "{ taken = Gather(b, where)  size = Shape(where) }"
)


def planned(name: str) -> TensorInfo:
    return tensor(name)


def test_planned_region(build: Build) -> None:
    call = FallbackCall("tanh.onnx", ((planned("a"), slot(0)),), ((planned("b"), slot(1)),), "t", "no kernel")
    steps = (
        KernelCall("negate", (input_at(0), slot(0)), "before"),
        call,
        KernelCall("twice", (slot(1), output_at(0)), "after"),
    )
    folder = build(Program((tensor("x"),), (tensor("y"),), 2 * 4032, 0, steps), fallbacks={"tanh.onnx": TANH})
    with load(folder, threads=2) as model:
        for _ in range(3):
            np.testing.assert_allclose(model.run({"x": X})["y"], 2 * np.tanh(-X), rtol=1e-5, atol=1e-6)
        assert [time.symbol for time in model.profile({"x": X})] == ["negate", "tanh.onnx", "twice"]
        assert model.manifest.fallbacks == ({"model": "tanh.onnx", "label": "t", "reason": "no kernel"},)


def dynamic_program() -> tuple[Program, dict[str, bytes]]:
    where = TensorInfo("where", "int64", (1, None))
    taken = TensorInfo("taken", "float32", (1, None))
    size = TensorInfo("size", "int64", (2,))
    steps = (
        FallbackCall("find.onnx", ((planned("a"), input_at(0)),), ((where, None),), "find", "dynamic"),
        KernelCall("negate", (input_at(0), slot(0)), "negate"),
        FallbackCall(
            "take.onnx",
            ((planned("b"), slot(0)), (where, None)),
            ((taken, None), (size, Location("output", 0, 16, 1))),
            "take",
            "dynamic",
        ),
    )
    program = Program((tensor("x"),), (taken, size, where), 4032, 0, steps)
    return program, {"find.onnx": NONZERO, "take.onnx": TAKE}


def test_values_of_unknown_shape(build: Build) -> None:
    program, models = dynamic_program()
    with load(build(program, fallbacks=models)) as model:
        for shift in (0.0, 0.5, -0.5, -100.0):
            x = (X + shift).astype(np.float32)
            found = model.run({"x": x})
            where = np.nonzero(x > 0)[0]
            np.testing.assert_array_equal(found["where"], where[None])
            np.testing.assert_array_equal(found["taken"], -x[where][None])
            np.testing.assert_array_equal(found["size"], [1, len(where)])


def test_dynamic_input_and_strings(build: Build) -> None:
    text = region("agraph (string[N] s, float[M] v) => (string[N] t, float[M] w) { t = Identity(s)  w = Neg(v) }")
    s, t = TensorInfo("s", "object", (None,)), TensorInfo("t", "object", (None,))
    v, w = TensorInfo("v", "float32", (None,)), TensorInfo("w", "float32", (None,))
    call = FallbackCall("text.onnx", ((s, None), (v, None)), ((t, None), (w, None)), "text", "strings")
    with load(build(Program((s, v), (t, w), 0, 0, (call,)), fallbacks={"text.onnx": text})) as model:
        found = model.run({"s": ["a", "bc"], "v": np.float32([1, 2, 3])})
        assert found["t"].tolist() == ["a", "bc"]
        np.testing.assert_array_equal(found["w"], [-1, -2, -3])


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn"])
def test_types_that_numpy_lacks(build: Build, name: str) -> None:
    kind = name.replace("_", "")
    text = f'<ir_version: 10, opset_import: ["" : 21]> agraph ({kind}[4] a) => ({kind}[4] b, float[4] c)'
    parts = "{ c = Cast<to=1>(a)  d = Neg(c)  b = CastLike(d, a) }"
    model = onnx.parser.parse_model(text + parts).SerializeToString()
    a, b, c = TensorInfo("a", name, (4,)), TensorInfo("b", name, (4,)), TensorInfo("c", "float32", (4,))
    size = numpy_dtype(a).itemsize * 4
    call = FallbackCall(
        "cast.onnx",
        ((a, Location("input", 0, size)),),
        ((b, Location("output", 0, size)), (c, Location("output", 0, 16, 1))),
        "cast",
        "test",
    )
    with load(build(Program((a,), (b, c), 0, 0, (call,)), fallbacks={"cast.onnx": model})) as artifact:
        x = np.float32([1, -2, 0.5, 0]).astype(numpy_dtype(a))
        found = artifact.run({"a": x})
        np.testing.assert_array_equal(found["b"].astype(np.float32), [-1, 2, -0.5, 0])
        np.testing.assert_array_equal(found["c"], [1, -2, 0.5, 0])
        assert verify(artifact, model, inputs={"a": x}).passed


def test_region_with_another_shape(build: Build) -> None:
    wrong = region("agraph (float[1000] a) => (float[1, 1000] b) { axes = Constant<value_ints=[0]>() "
                   "b = Unsqueeze(a, axes) }")  # fmt: skip
    call = FallbackCall("wrong.onnx", ((planned("a"), input_at(0)),), ((planned("b"), output_at(0)),), "w", "test")
    folder = build(Program((tensor("x"),), (tensor("y"),), 0, 0, (call,)), fallbacks={"wrong.onnx": wrong})
    with load(folder) as model, pytest.raises(OptcError) as failure:
        model.run({"x": X})
    assert str(failure.value) == (
        "a fallback region gave another shape than planned\n  at w\n  'b' has the shape [1, 1000] instead of [1000]"
    )


def test_region_that_fails(build: Build) -> None:
    bad = region("agraph (int64[1] i, float[1000] a) => (float[1] b) { b = Gather(a, i) }")
    index, taken = TensorInfo("i", "int64", (1,)), TensorInfo("b", "float32", (1,))
    place = Location("input", 0, 8, 1)
    out = Location("output", 0, 4, 0)
    call = FallbackCall("bad.onnx", ((index, place), (planned("a"), input_at(0))), ((taken, out),), "gather_3", "test")
    program = Program((tensor("x"), index), (taken,), 0, 0, (call,))
    with load(build(program, fallbacks={"bad.onnx": bad})) as model:
        with pytest.raises(OptcError, match="onnxruntime failed in a fallback region\n  at gather_3\n"):
            model.run({"x": X, "i": np.int64([5000])})
        np.testing.assert_array_equal(model.run({"x": X, "i": np.int64([5])})["b"], X[5:6])


def test_sessions_survive_the_folder(build: Build) -> None:
    call = FallbackCall("tanh.onnx", ((planned("a"), input_at(0)),), ((planned("b"), output_at(0)),), "t", "test")
    folder = build(Program((tensor("x"),), (tensor("y"),), 0, 0, (call,)), fallbacks={"tanh.onnx": TANH})
    with load(folder) as model:
        shutil.rmtree(folder)
        np.testing.assert_allclose(model.run({"x": X})["y"], np.tanh(X), rtol=1e-5, atol=1e-6)
