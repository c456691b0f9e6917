"""Names for values with several readers, where the stored type is not the computed one."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from kernel_harness import Group, compile_all, prepare, run, type_of

from optc.ir.core import Graph, Operation
from optc.targets import Target, load


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


def test_bools_that_are_read_twice_under_a_vectorised_loop(host: Target) -> None:
    data = np.random.default_rng(0).integers(0, 4, (2, 67)).astype(np.uint32)
    graph = Graph("group")
    x, y = graph.add_input("x", type_of(data[0])), graph.add_input("y", type_of(data[1]))
    flag = type_of(np.empty(67, bool))
    greater = graph.append(Operation("onnx.Greater", [x, y], [flag])).result
    equal = graph.append(Operation("onnx.Equal", [x, y], [flag])).result
    either = graph.append(Operation("onnx.Or", [greater, equal], [flag])).result
    both = graph.append(Operation("onnx.Xor", [either, greater], [flag])).result
    graph.set_outputs([both])
    prepared = prepare(Group(graph), [data[0], data[1]], host)
    (actual,) = run(compile_all({"k": prepared}, host), "k", prepared)
    np.testing.assert_array_equal(actual, data[0] == data[1])


def test_a_long_chain_in_bfloat16_compiles_and_rounds_each_step(host: Target) -> None:
    """Each rounding names its value; names below the conversion to 16 bits would double the code at every step."""
    data = np.linspace(-3, 3, 37).astype(ml_dtypes.bfloat16)
    graph = Graph("group")
    value = graph.add_input("x", type_of(data))
    expected = data.astype(np.float32)
    for _ in range(24):
        value = graph.append(Operation("onnx.Mul", [value, value], [type_of(data)])).result
        value = graph.append(Operation("onnx.Abs", [value], [type_of(data)])).result
        value = graph.append(Operation("onnx.Sqrt", [value], [type_of(data)])).result
        expected = (expected * expected).astype(ml_dtypes.bfloat16).astype(np.float32)
        expected = np.sqrt(expected).astype(ml_dtypes.bfloat16).astype(np.float32)
    graph.set_outputs([value])
    prepared = prepare(Group(graph), [data], host)
    (actual,) = run(compile_all({"k": prepared}, host), "k", prepared)
    np.testing.assert_array_equal(actual.astype(np.float32), expected)
