"""Runs modules in onnxruntime with its own optimizations off: the oracle for what a pass may not change."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime

from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model


def run(module: Module, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by name."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    model = to_onnx_model(module).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    wanted = {item.name for item in session.get_inputs()}
    values = session.run(names, {name: array for name, array in feeds.items() if name in wanted})
    return dict(zip(names, values, strict=True))


def assert_same(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], tolerance: float = 1e-5) -> None:
    """Same names, shapes, element types, and values within `tolerance` of the largest (at least 1)."""
    assert list(before) == list(after)
    for name, expected in before.items():
        found = after[name]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(found, expected, err_msg=name)
            continue
        finite = np.abs(expected[np.isfinite(expected)])
        scale = max(1.0, float(finite.max()) if finite.size else 1.0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale, equal_nan=True, err_msg=name)
