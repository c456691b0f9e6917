"""Kernels on codes against onnxruntime, which computes the same models in its own way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from c_kit import Built, Quantized, model_of

from optc.backends.c.source import Call

SHAPE = (1, 6, 9, 11)
SCALE, ZERO = 0.05, 131


def convolution(q: Quantized, x: str, channels: int, outputs: int, **attributes: object) -> str:
    groups = int(attributes.get("group", 1))  # type: ignore[call-overload]
    kernel = attributes.pop("kernel", (3, 3))
    weights, scales = q.weights((outputs, channels // groups, *kernel), 0)  # type: ignore[misc]
    return q.add("Conv", [x, weights, q.bias(scales, SCALE)], **attributes)


def plain(q: Quantized, x: str) -> str:
    return q.add("Relu", [convolution(q, x, 6, 8, pads=[1, 1, 1, 1])])


def odd(q: Quantized, x: str) -> str:
    return convolution(q, x, 6, 5, kernel=(2, 3), strides=[2, 1], pads=[0, 2, 1, 0])


def dilated(q: Quantized, x: str) -> str:
    return convolution(q, x, 6, 4, dilations=[2, 3], pads=[2, 3, 2, 3])


def grouped(q: Quantized, x: str) -> str:
    return convolution(q, x, 6, 6, group=2, pads=[1, 1, 1, 1])


def pointwise(q: Quantized, x: str) -> str:
    return convolution(q, x, 6, 7, kernel=(1, 1), strides=[2, 2])


def depthwise(q: Quantized, x: str) -> str:
    convolved = convolution(q, x, 6, 6, group=6, pads=[1, 1, 1, 1], strides=[1, 2])
    bounds = [q.constant(np.float32(0)), q.constant(np.float32(2.5))]
    return q.add("Clip", [convolved, *bounds])


def global_mean(q: Quantized, x: str) -> str:
    return q.add("GlobalAveragePool", [x])


def mean(q: Quantized, x: str) -> str:
    return q.add("AveragePool", [x], kernel_shape=[3, 2], strides=[2, 2])


def sigmoid(q: Quantized, x: str) -> str:
    return q.add("Sigmoid", [x])


CASES = {
    "convolve": [plain, odd, dilated, grouped, pointwise],
    "depthwise": [depthwise],
    "mean": [global_mean, mean],
    "lookup": [sigmoid],
}


def expected(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": x})
    return result


def kinds(model: object) -> list[str]:
    return [step.kernel.kind for step in model.steps if isinstance(step, Call)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "layer"),
    [(kind, layer) for kind, layers in CASES.items() for layer in layers],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_codes_are_those_of_onnxruntime(kind: str, layer: Callable[[Quantized, str], str], tmp_path: Path) -> None:
    q = Quantized(seed=len(layer.__name__))
    scale = {"lookup": 0.004, "mean": 0.047}.get(kind, SCALE)
    y = q.coded(layer(q, q.coded("x", SCALE, ZERO)), scale, 120 if kind != "lookup" else 0)
    model = q.model(SHAPE, y)
    made = model_of(model)
    assert kind in kinds(made)
    built = Built(made, tmp_path)
    for _ in range(3):
        x = q.random.uniform(-7, 7, SHAPE).astype(np.float32)
        (found,) = built.run(x)
        error = np.abs(found - expected(model, x)) / scale
        # Sums are integers: only halves, where onnxruntime's float product is rounded once more, may differ.
        assert error.max() < 1.01
        assert (error > 0.5).mean() < 0.002


def test_a_sum_joins_the_convolution_before_it(tmp_path: Path) -> None:
    q = Quantized(seed=5)
    x = q.coded("x", SCALE, ZERO)
    branch = q.coded(q.add("Relu", [convolution(q, x, 6, 6, pads=[1, 1, 1, 1])]), 0.2, 3)
    y = q.coded(q.add("Relu", [q.add("Add", [branch, x])]), 0.21, 0)
    model = q.model(SHAPE, y)
    made = model_of(model)
    assert kinds(made) == ["convolve"]
    x_value = q.random.uniform(-7, 7, SHAPE).astype(np.float32)
    (found,) = Built(made, tmp_path).run(x_value)
    error = np.abs(found - expected(model, x_value)) / 0.21
    assert error.max() < 1.01
    assert (error > 0.5).mean() < 0.01


def test_a_matrix_product_with_bias_gives_floats(tmp_path: Path) -> None:
    q = Quantized(seed=6)
    weights, _ = q.weights((20, 10), 1)
    bias = q.constant(q.random.standard_normal(10).astype(np.float32))
    y = q.add("Add", [q.add("MatMul", [q.coded("x", SCALE, ZERO), weights]), bias])
    model = q.model((1, 20), y)
    made = model_of(model)
    assert kinds(made) == ["convolve"]
    x = q.random.uniform(-7, 7, (1, 20)).astype(np.float32)
    (found,) = Built(made, tmp_path).run(x)
    np.testing.assert_allclose(found, expected(model, x), atol=2e-3)
