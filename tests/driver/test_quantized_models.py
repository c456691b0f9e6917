"""Models that onnxruntime's own quantizer wrote, compiled natively, against onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_kit import model, node, value

from optc import driver
from optc.artifact import read

quantization = pytest.importorskip("onnxruntime.quantization")


def network() -> onnx.ModelProto:
    """Convolutions with a residual, a depthwise one, both poolings, a join, and a product."""
    random = np.random.default_rng(0)

    def w(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    weights = {
        "k0": w(16, 3, 3, 3), "b0": w(16), "k1": w(16, 16, 3, 3), "b1": w(16), "k2": w(16, 1, 3, 3), "b2": w(16),
        "m": w(32, 10), "b3": w(10),
    }  # fmt: skip
    nodes = [
        node("Conv", "x k0 b0", "c0", "stem", pads=[1, 1, 1, 1]),
        node("Relu", "c0", "r0"),
        node("Conv", "r0 k1 b1", "c1", "conv", pads=[1, 1, 1, 1]),
        node("Add", "c1 r0", "a1", "residual"),
        node("Relu", "a1", "r1"),
        node("MaxPool", "r1", "p1", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p1 k2 b2", "c2", "depthwise", pads=[1, 1, 1, 1], group=16),
        node("Concat", "p1 c2", "j", "join", axis=1),
        node("GlobalAveragePool", "j", "g", "mean"),
        node("Flatten", "g", "f"),
        node("Gemm", "f m b3", "y", "scores"),
    ]
    return model(nodes, [value("x", [1, 3, 12, 12])], [value("y", [1, 10])], weights)


def block() -> onnx.ModelProto:
    """A transformer's projections around an attention of one head, and its second half."""
    random = np.random.default_rng(1)
    weights = {
        name: (random.normal(size=(32, 32)) / 6).astype(np.float32) for name in ("q", "k", "v", "o", "u", "d")
    } | {"scale": np.ones(32, np.float32), "shift": np.zeros(32, np.float32), "root": np.float32(32**-0.5)}
    nodes = [
        *(node("MatMul", f"x {name}", f"x{name}", f"project_{name}") for name in "qkv"),
        node("Transpose", "xk", "kt", perm=[0, 2, 1]),
        node("MatMul", "xq kt", "s", "similar"),
        node("Mul", "s root", "t"),
        node("Softmax", "t", "p"),
        node("MatMul", "p xv", "z", "mix"),
        node("MatMul", "z o", "zo", "project_o"),
        node("Add", "zo x", "r"),
        node("LayerNormalization", "r scale shift", "n", axis=-1),
        node("MatMul", "n u", "h", "up"),
        node("Relu", "h", "hr"),
        node("MatMul", "hr d", "y", "down"),
    ]
    return model(nodes, [value("x", [1, 8, 32])], [value("y", [1, 8, 32])], weights)


class Samples(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
    """Random samples for an input of some shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.left = [samples(shape, seed) for seed in range(8)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def samples(shape: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


CASES = {
    "qdq, unsigned": (network, quantization.QuantFormat.QDQ, quantization.QuantType.QUInt8),
    "qdq, signed": (network, quantization.QuantFormat.QDQ, quantization.QuantType.QInt8),
    "operators": (network, quantization.QuantFormat.QOperator, quantization.QuantType.QUInt8),
    "transformer": (block, quantization.QuantFormat.QDQ, quantization.QuantType.QUInt8),
}


LAYERS = {"stem", "conv", "depthwise", "scores", "project_q", "project_k", "project_v", "project_o", "up", "down"}
"""Contractions with constant weights: each was priced in both arithmetics."""


@pytest.mark.parametrize("case", CASES)
def test_what_onnxruntime_quantized_runs_natively(case: str, tmp_path: Path) -> None:
    make, format, activations = CASES[case]
    source = make()
    shape = tuple(dim.dim_value for dim in source.graph.input[0].type.tensor_type.shape.dim)
    onnx.save(source, tmp_path / "source.onnx")
    quantization.quantize_static(
        tmp_path / "source.onnx",
        tmp_path / "model.onnx",
        Samples(shape),
        quant_format=format,
        activation_type=activations,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), options)
    # The compile compares with onnxruntime too; here is a second sample, and the float model beside it.
    with driver.compile(tmp_path / "model.onnx", output=tmp_path / "artifact", tune=0, threads=1) as artifact:
        feeds = samples(shape, 100)
        found, (wanted,) = artifact.run(feeds)["y"], session.run(None, feeds)
    (real,) = onnxruntime.InferenceSession(source.SerializeToString()).run(None, feeds)
    error, lost = np.square(found - wanted).sum(), np.square(wanted - real).sum()
    assert error <= 1e-3 * np.square(wanted).sum() and error < lost
    files = read(tmp_path / "artifact")
    assert not files.manifest.fallbacks and files.manifest.verification is not None
    remarks = json.loads((tmp_path / "artifact" / "plan.json").read_text())["decisions"]["remarks"]
    priced = [each["nodes"][-1] for each in remarks if each["pass"] == "integer-arithmetic" and each["predicted"]]
    layers = {each.name for each in source.graph.node if each.name in LAYERS}
    assert {name.removesuffix("_quant") for name in priced} == layers
