"""The figures of `optc inspect`, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
from onnx_kit import model, node, value

from optc.frontends.onnx_frontend import load
from optc.frontends.summary import summarize


def network(batch: int | str) -> object:
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("Add", "r c", "a"),
        node("GlobalAveragePool", "a", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f m", "y"),
    ]
    weights = {"w": np.ones((8, 3, 3, 3), np.float32), "b": np.ones(8, np.float32), "m": np.ones((8, 2), np.float32)}
    return summarize(load(model(nodes, [value("x", [batch, 3, 10, 10])], ["y"], weights)))  # type: ignore[arg-type]


def test_static_network() -> None:
    summary = network(1)
    conv = 8 * 100 * (2 * 27 + 1)
    assert summary.flops_by_operation == {
        "Conv": conv, "GlobalAveragePool": 808, "Relu": 800, "Add": 800, "MatMul": 32
    }  # fmt: skip
    assert (summary.flops, summary.uncounted) == (conv + 808 + 800 + 800 + 32, 0)
    assert summary.parameters == 8 * 27 + 8 + 16
    assert summary.weight_bytes == 4 * summary.parameters
    # While Add runs, c, r and a live: three tensors of 8x10x10 floats.
    assert summary.peak_activation_bytes == 3 * 800 * 4
    assert summary.operations == {"Conv": 1, "Relu": 1, "Add": 1, "GlobalAveragePool": 1, "Flatten": 1, "MatMul": 1}
    assert (summary.opset, summary.dynamic_dims, summary.binding_hints) == ("17", (), ())
    assert summary.outputs[0].shape == (1, 2)


def test_dynamic_network() -> None:
    summary = network("batch")
    assert summary.peak_activation_bytes is None
    assert (summary.flops, summary.uncounted) == (0, 6)
    assert [(dim.name, dim.places) for dim in summary.dynamic_dims] == [("batch", (("x", 0),))]
    assert summary.binding_hints == ("--dim batch=N", "--shape x=N,3,10,10")
    assert summary.outputs[0].shape == ("batch", 2)


def test_shared_weights_count_once() -> None:
    nodes = [node("Add", "x w", "a"), node("Mul", "a w", "y")]
    summary = summarize(load(model(nodes, [value("x", [4])], ["y"], {"w": [1, 2, 3, 4]})))
    assert (summary.parameters, summary.weight_bytes) == (4, 16)
