"""Patches: the same numbers, and less memory for what is large at first."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.ir.clone import clone_graph
from optc.ir.core import Graph
from optc.ops.onnx_export import to_onnx_model
from optc.passes.memory.order import live_bytes
from optc.passes.memory.patches import divide, stages
from tests.graph_kit import Builder


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Convolutions and pools of all strides and pads with element-wise operations and residuals between."""
    rows = draw(st.integers(9, 20))
    build = Builder(x=f"1,3,{rows},7")
    value = build.input("x")
    random = np.random.default_rng(draw(st.integers(0, 99)))
    older = None
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(("Conv", "Conv", "Depthwise", "MaxPool", "AveragePool", "Relu", "Mul", "Add")))
        size, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        pads = (draw(st.integers(0, size - 1)), size // 2, draw(st.integers(0, size - 1)), size // 2)
        channels, height = value.shape[1], value.shape[2]
        if kind in ("Conv", "Depthwise", "MaxPool", "AveragePool") and height + pads[0] + pads[2] < size + 2 * stride:
            continue
        window = {"kernel_shape": (size, size), "strides": (stride, 1), "pads": pads}
        if kind == "Conv":
            weight = build.constant(random.standard_normal((4, channels, size, size)), np.float32)
            value = build("Conv", value, weight, **window)
        elif kind == "Depthwise":
            weight = build.constant(random.standard_normal((channels, 1, size, size)), np.float32)
            value = build("Conv", value, weight, group=channels, **window)
        elif kind in ("MaxPool", "AveragePool"):
            value = build(kind, value, **window)
        elif kind == "Mul":
            value = build("Mul", value, build.constant(random.standard_normal((channels, 1, 1)), np.float32))
        elif kind == "Add" and older is not None and older.shape == value.shape:
            value = build("Add", older, value)
        else:
            older, value = value, build("Relu", value)
    build.graph.set_outputs([build("Sigmoid", value)])
    return build.graph


def by_onnxruntime(graph: Graph, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        to_onnx_model(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": x})
    return found


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs(), st.integers(2, 5))
def test_the_numbers_stay_the_same(graph: Graph, count: int) -> None:
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].shape).astype(np.float32)
    expected = by_onnxruntime(graph, x)
    for index in range(len(stages(graph))):
        copy = clone_graph(graph)
        stage = stages(copy)[index]
        divide(copy, stage, min(count, stage.result.shape[2]))
        np.testing.assert_allclose(by_onnxruntime(copy, x), expected, rtol=1e-5, atol=1e-6)


def mobile_stage() -> Builder:
    build = Builder(x="1,3,64,64")
    value = build.input("x")
    for channels, stride, group in ((16, 1, 1), (16, 2, 16), (32, 1, 1), (32, 2, 32)):
        weight = build.constant(np.ones((channels, value.shape[1] // group, 3, 3)), np.float32)
        attributes = {"strides": (stride, stride), "pads": (1, 1, 1, 1), "group": group}
        value = build("Relu", build("Conv", value, weight, **attributes))
    build.graph.set_outputs([build("GlobalAveragePool", value)])
    return build


@pytest.mark.parametrize(("count", "most"), [(2, 0.75), (4, 0.55)])
def test_large_first_values_need_less_memory(count: int, most: float) -> None:
    graph = mobile_stage().graph
    before = live_bytes(graph)
    stage = stages(graph)[-1]
    again = divide(graph, stage, count)
    assert 0 < again < 0.5
    assert live_bytes(graph) <= most * before


def test_what_ends_a_stage() -> None:
    build = Builder(x="1,4,8,8")
    a = build("Relu", build.input("x"))
    b = build("Sigmoid", a)
    c = build("Add", a, b)
    d = build("GlobalAveragePool", c)
    build.graph.set_outputs([build("Mul", c, d)])
    found = stages(build.graph)
    assert [len(stage.operations) for stage in found] == [1, 3]
    assert [stage.result for stage in found] == [a, c]
    build = Builder(x="1,4,8,8", y="1,4,8,8")
    build.graph.set_outputs([build("Relu", build.input("x"))])
    assert stages(build.graph) == []
