"""The scatter template against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from kernel_harness import Prepared, compile_all, run, type_of

from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Template, templates_for
from optc.ir.core import Graph
from optc.ops.inference import make_operation
from optc.ops.onnx_export import to_onnx_model
from optc.targets import load

RANDOM = np.random.default_rng(6)
FLOATS = RANDOM.normal(size=(4, 5, 3)).astype(np.float32)
ROWS = np.array([[[-1, 0, 3], [2, 2, 1]]], np.int64)
PLACES = np.array([[1, 2], [3, -1], [1, 2]], np.int64)
CASES = {
    "elements": ("ScatterElements", FLOATS, ROWS, {"axis": 1}),
    "the first axis": ("ScatterElements", FLOATS, ROWS.astype(np.int32), {}),
    "rows": ("ScatterND", FLOATS, PLACES, {}),
    "sums": ("ScatterND", FLOATS, PLACES, {"reduction": "add"}),
    "products of elements": ("ScatterElements", FLOATS, np.zeros((1, 5, 3), np.int64), {"reduction": "mul"}),
    "the largest of integers": ("ScatterND", RANDOM.integers(0, 99, (4, 5)), PLACES, {"reduction": "max"}),
    "the smallest": ("ScatterElements", FLOATS, np.minimum(ROWS, 2), {"axis": 2, "reduction": "min"}),
    "truths": ("ScatterND", FLOATS > 0, PLACES[:2], {}),
    "one element": ("ScatterND", FLOATS[0, 0], np.array([[1]], np.int64), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_as_onnxruntime_puts_them(name: str) -> None:
    kind, data, indices, attributes = CASES[name]
    shape = indices.shape if kind == "ScatterElements" else (len(indices), *data.shape[indices.shape[1] :])
    updates = RANDOM.normal(size=shape) * 50
    updates = updates > 0 if data.dtype == np.bool_ else updates.astype(data.dtype)
    arrays = [data, indices, updates]
    body = Graph("body", [(f"x{place}", type_of(array)) for place, array in enumerate(arrays)])
    operation = make_operation(f"onnx.{kind}", list(body.inputs), attributes, result_names=["y"])  # type: ignore[arg-type]
    body.append(operation)
    body.set_outputs(operation.results)
    group, target = Group(body), load("cpu")
    found = templates_for(group, target)
    assert not isinstance(found, str)
    assert [template.name for template in found] == ["scatter"]
    prepared = Prepared(group, Template.registry["scatter"].build(group, (), target), arrays)
    (result,) = run(compile_all({"k": prepared}, target), "k", prepared)
    session = onnxruntime.InferenceSession(to_onnx_model(body).SerializeToString())
    wanted = session.run(None, {f"x{place}": array for place, array in enumerate(arrays)})[0]
    np.testing.assert_allclose(result, wanted, rtol=1e-6)
