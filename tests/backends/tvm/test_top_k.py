"""The TopK template against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from kernel_harness import Prepared, compile_all, run, type_of

from optc.backends.tvm.capability import supports
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Template, templates_for
from optc.ir.core import Graph
from optc.ops.inference import make_operation
from optc.ops.onnx_export import to_onnx_model
from optc.targets import load

RANDOM = np.random.default_rng(2)
CASES = {
    "largest": (RANDOM.normal(size=(3, 50)), np.float32, 5, {}),
    "smallest": (RANDOM.normal(size=(3, 50)), np.float32, 50, {"largest": 0}),
    "equal elements": (RANDOM.integers(0, 4, (2, 30)), np.int64, 12, {}),
    "an axis between": (RANDOM.integers(0, 9, (2, 7, 3)), np.int32, 4, {"axis": 1, "largest": 0}),
    "infinities": (np.array([[np.inf, -np.inf, 0, np.inf, -np.inf]]), np.float32, 5, {}),
    "bytes": (RANDOM.integers(0, 255, (40,)), np.uint8, 3, {"axis": 0}),
}


def group_of(array: np.ndarray, count: int, attributes: dict[str, int]) -> Group:
    body = Graph("body", [("x", type_of(array))])
    number = body.constant(np.array([count], np.int64), "k")
    operation = make_operation("onnx.TopK", [body.inputs[0], number], attributes, result_names=["y", "at"])  # type: ignore[arg-type]
    body.append(operation)
    body.set_outputs(operation.results)
    return Group(body)


@pytest.mark.parametrize("name", CASES)
def test_as_onnxruntime_orders_them(name: str) -> None:
    numbers, dtype, count, attributes = CASES[name]
    array, target = numbers.astype(dtype), load("cpu")
    group = group_of(array, count, attributes)
    found = templates_for(group, target)
    assert not isinstance(found, str)
    assert [template.name for template in found] == ["top_k"]
    prepared = Prepared(group, Template.registry["top_k"].build(group, (), target), [array])
    results = run(compile_all({"k": prepared}, target), "k", prepared)
    session = onnxruntime.InferenceSession(to_onnx_model(group.body).SerializeToString())
    for result, wanted in zip(results, session.run(None, {"x": array}), strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_many_of_many_are_left_to_a_heap() -> None:
    group = group_of(np.zeros((1, 8400), np.float32), 300, {})
    operation = next(each for each in group.body if each.name == "onnx.TopK")
    assert supports(operation) == "it looks for 300 of 8400 elements"
