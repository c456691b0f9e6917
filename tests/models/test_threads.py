"""Results do not depend on the threads of a run, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import optc
from optc import targets
from optc.runtime.random_inputs import random_inputs

MOST_THREADS = 3
SAMPLES = sorted((Path(__file__).resolve().parents[2] / "samples" / "models").glob("*.onnx"))
TOKENS, WIDTH, HEADS, HIDDEN = 48, 64, 4, 160


class _Layers:
    """Nodes of a transformer in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def __call__(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def weight(self, *shape: int) -> str:
        array = self._random.normal(size=shape).astype(np.float32) / shape[0] ** 0.5
        return self.constant(array)

    def constant(self, array: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        return self("Add", self("MatMul", x, self.weight(inputs, outputs)), self.weight(outputs))

    def norm(self, x: str) -> str:
        return self("LayerNormalization", x, self.weight(WIDTH), self.weight(WIDTH), axis=-1)

    def heads(self, x: str, order: tuple[int, ...]) -> str:
        shape = self.constant(np.array([1, TOKENS, HEADS, WIDTH // HEADS], np.int64))
        return self("Transpose", self("Reshape", self.linear(x, WIDTH, WIDTH), shape), perm=order)

    def attention(self, x: str) -> str:
        query, value = (self.heads(x, (0, 2, 1, 3)) for _ in range(2))
        scores = self("MatMul", query, self.heads(x, (0, 2, 3, 1)))
        scale = self.constant(np.array((WIDTH // HEADS) ** -0.5, np.float32))
        mixed = self("MatMul", self("Softmax", self("Mul", scores, scale), axis=-1), value)
        flat = self.constant(np.array([1, TOKENS, WIDTH], np.int64))
        return self.linear(self("Reshape", self("Transpose", mixed, perm=(0, 2, 1, 3)), flat), WIDTH, WIDTH)

    def mlp(self, x: str) -> str:
        inner = self.linear(x, WIDTH, HIDDEN)
        return self.linear(self("Mul", inner, self("Sigmoid", inner)), HIDDEN, WIDTH)


def transformer(path: Path) -> Path:
    """Two layers: attention and an MLP, each normalised before and added to its input."""
    layers = _Layers()
    x = "x"
    for _ in range(2):
        x = layers("Add", x, layers.attention(layers.norm(x)))
        x = layers("Add", x, layers.mlp(layers.norm(x)))
    layers.nodes.append(helper.make_node("Softmax", [x], ["y"], axis=-1))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, TOKENS, WIDTH]) for name in "xy"]
    graph = helper.make_graph(layers.nodes, "transformer", ends[:1], ends[1:], layers.weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize("name", ["cifar10_mobilenet", "cifar10_resnet8", "transformer"])
def test_threads_change_no_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where waking threads costs nothing, every kernel that can uses all of them, however small it is."""
    eager = replace(targets.load("cpu"), cores=MOST_THREADS, parallel_seconds=0.0)
    monkeypatch.setattr(targets, "load", lambda _: eager)
    if name == "transformer":
        path, shapes = transformer(tmp_path / "transformer.onnx"), None
    else:
        path, shapes = next(each for each in SAMPLES if each.stem == name), {"pixels": [1, 3, 32, 32]}
    folder = tmp_path / "artifact"
    optc.compile(path, shapes=shapes, output=folder, tune=0, threads=MOST_THREADS).close()
    with optc.load(folder, threads=1) as alone:
        given = [random_inputs(alone.inputs, seed) for seed in range(5)]
        expected = [alone.run(inputs) for inputs in given]
    for threads in range(2, MOST_THREADS + 1):
        with optc.load(folder, threads=threads) as together:
            assert together.threads == threads
            for inputs, outputs in zip(given, expected, strict=True):
                for key, array in together.run(inputs).items():
                    np.testing.assert_array_equal(array, outputs[key], err_msg=f"{key} on {threads} threads")
