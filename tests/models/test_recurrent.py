"""A recurrent network of many steps needs nothing but native code, whatever the target's code is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optc import driver

STEPS, WIDTH, HIDDEN = 24, 6, 10


def network() -> onnx.ModelProto:
    """An LSTM in both directions, a GRU over what it gives, and the two best of five classes."""
    random = np.random.default_rng(4)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.uniform(-0.5, 0.5, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=HIDDEN, direction="bidirectional"),
        helper.make_node("Transpose", ["y"], ["turned"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["turned", "joined"], ["both"]),
        helper.make_node("GRU", ["both", "w2", "r2"], ["", "last"], hidden_size=HIDDEN, linear_before_reset=1),
        helper.make_node("Reshape", ["last", "flat"], ["state"]),
        helper.make_node("Gemm", ["state", "classes"], ["scores"]),
        helper.make_node("TopK", ["scores", "two"], ["best", "which"]),
    ]
    weights = [
        weight("w", 2, 4 * HIDDEN, WIDTH), weight("r", 2, 4 * HIDDEN, HIDDEN), weight("b", 2, 8 * HIDDEN),
        weight("w2", 1, 3 * HIDDEN, 2 * HIDDEN), weight("r2", 1, 3 * HIDDEN, HIDDEN), weight("classes", HIDDEN, 5),
        numpy_helper.from_array(np.array([STEPS, 1, 2 * HIDDEN]), "joined"),
        numpy_helper.from_array(np.array([1, HIDDEN]), "flat"), numpy_helper.from_array(np.array([2]), "two"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (STEPS, 1, WIDTH))],
        [
            helper.make_tensor_value_info("best", TensorProto.FLOAT, (1, 2)),
            helper.make_tensor_value_info("which", TensorProto.INT64, (1, 2)),
        ],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("target", ["cpu", "c99", "cortex-m7"])
def test_it_is_native_and_right(target: str, tmp_path: Path) -> None:
    made = driver.compile(network(), target=target, output=tmp_path / "out", tune=0)
    assert not made.manifest.fallbacks
    assert made.manifest.verification is not None and made.manifest.verification["passed"]
