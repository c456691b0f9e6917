"""`optc.restrict`: what it refuses, what ONNX makes of it, and that kernels restrict alike, NaN included."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime
import pytest
from graph_kit import Builder
from onnx_kit import model, node, value

import optc
from optc.ir.core import Graph
from optc.ops.declaration import declaration_of
from optc.ops.evaluate import evaluate_graph
from optc.ops.onnx_export import to_onnx_model
from optc.ops.restriction import RESTRICT
from optc.program import KernelCall, walk

WILD = np.array([0.5, -0.5, 0.5000001, -2, 1e30, -np.inf, np.inf, np.nan, 0, 0.25], np.float32)


def restricting(bound: np.ndarray) -> Graph:
    b = Builder(x="2,5")
    limit = b.graph.constant(bound, "bound")
    b.graph.set_outputs([b(RESTRICT, b.input("x"), limit)])
    return b.graph


def test_reference_and_onnx_agree_with_plain_loops() -> None:
    graph = restricting(np.array([[0.5], [3.0]], np.float32))
    data = WILD.reshape(2, 5)
    expected = [[x if abs(x) <= limit else 0.0 for x in row] for row, limit in zip(data, (0.5, 3.0), strict=True)]
    (found,) = evaluate_graph(graph, [data])
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    proto = to_onnx_model(graph)
    assert [each.op_type for each in proto.graph.node] == ["Abs", "LessOrEqual", "Where"]
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    np.testing.assert_array_equal(session.run(None, {"x": data})[0], found)


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (np.zeros((2, 2, 5), np.float32), "the bound (2, 2, 5) does not broadcast to (2, 5)"),
        (np.zeros(1, np.float16), "its inputs have the element types f32 and f16, which must be one type of reals"),
    ],
)
def test_bounds_that_do_not_fit(bound: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        restricting(bound)


def test_attributes_are_refused() -> None:
    operation = restricting(np.ones(1, np.float32)).outputs[0].producer
    assert operation is not None
    operation.attributes["low"] = 0
    with pytest.raises(ValueError, match="two inputs, the data and their greatest magnitude, and no attributes"):
        declaration_of(RESTRICT).verify(operation)


def test_a_kernel_restricts_behind_its_convolution() -> None:
    """Found in what ONNX wrote, and one kernel with the convolution; exact for numbers and for what is none."""
    weights = {
        "w": np.eye(16, dtype=np.float32).reshape(16, 16, 1, 1),
        "b": np.linspace(0.1, 1, 16).astype(np.float32).reshape(1, 16, 1, 1),
        "o": np.zeros((), np.float32),
    }
    nodes = [
        node("Conv", "x w", "c", "conv"),
        node("Abs", "c", "m"),
        node("LessOrEqual", "m b", "i"),
        node("Where", "i c o", "r"),
        node("Neg", "r", "y"),
    ]
    shape = [1, 16, 6, 10]
    proto = model(nodes, [value("x", shape)], [value("y", shape)], weights)
    rows = np.zeros(shape, np.float32)
    rows[0, :, 0, :4] = np.array([0.05, 0.3, -2, 0.9], np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    with optc.compile(proto, threads=1, tune=0) as artifact:
        assert len([step for step in walk(artifact.program.steps) if isinstance(step, KernelCall)]) == 1
        np.testing.assert_allclose(artifact.run({"x": rows})["y"], session.run(None, {"x": rows})[0], rtol=1e-6)
        for wild in (np.nan, np.inf, -np.inf, 1e30):
            np.testing.assert_array_equal(artifact.run({"x": np.full(shape, wild, np.float32)})["y"], 0)
