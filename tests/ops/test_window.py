"""Pooling over everything, with any number of spatial axes."""

from __future__ import annotations

import numpy as np
import pytest

from optc.ir import dtypes
from optc.ir.core import Graph
from optc.ir.types import TensorType
from optc.ops.evaluate import evaluate_graph
from optc.ops.inference import make_operation


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 5, 4), (1, 2, 3, 4, 5)])
def test_the_largest_of_each_channel(shape: tuple[int, ...]) -> None:
    graph = Graph("main", [("x", TensorType(dtypes.FLOAT32, shape))])
    operation = graph.append(make_operation("onnx.GlobalMaxPool", graph.inputs, {}))
    graph.set_outputs(operation.results)
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (found,) = evaluate_graph(graph, [data])
    np.testing.assert_array_equal(found, data.reshape(*shape[:2], -1).max(axis=2).reshape(operation.result.shape))
