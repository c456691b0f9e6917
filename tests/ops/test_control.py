"""Types of If and Loop: joins, branches that cannot run, carried shapes that grow."""

from __future__ import annotations

import numpy as np
import pytest
from graph_kit import Builder, shown, tensor

from optc.ir import dtypes
from optc.ir.core import Graph, Value
from optc.ir.types import TensorType
from optc.ops.evaluate import evaluate_graph
from optc.ops.inference import make_operation


def branch(name: str, op_type: str, *operands: Value, **attributes: object) -> Graph:
    graph = Graph(name)
    operation = make_operation(f"onnx.{op_type}", operands, attributes, result_names=["y"])  # type: ignore[arg-type]
    graph.append(operation)
    graph.set_outputs([operation.result])
    return graph


def choice(b: Builder, condition: Value, then: Graph, otherwise: Graph) -> Value:
    graphs = {"then_branch": then, "else_branch": otherwise}
    operation = make_operation("onnx.If", [condition], graphs=graphs, result_names=["r"])
    b.graph.append(operation)
    return operation.result


def test_if_joins_its_branches() -> None:
    b = Builder(x="2,3", c="")
    x = b.input("x")
    condition = b("Cast", b.input("c"), to=9)
    result = choice(b, condition, branch("t", "Relu", x), branch("e", "Concat", x, x, axis=1))
    assert shown(result) == "2,r_1"


def test_if_with_a_known_condition_has_the_type_of_that_branch() -> None:
    b = Builder(x="2,3")
    x = b.input("x")
    result = choice(b, b.constant(False, bool), branch("t", "Relu", x), branch("e", "Concat", x, x, axis=1))
    assert shown(result) == "2,6"
    b.graph.set_outputs([result])
    (array,) = evaluate_graph(b.graph, [np.ones((2, 3), np.float32)])
    assert array.shape == (2, 6)


def test_branches_with_different_element_types_are_refused() -> None:
    b = Builder(x="2,3", c="")
    x = b.input("x")
    condition = b("Cast", b.input("c"), to=9)
    with pytest.raises(ValueError, match="its result is f32 on one path and i64 on the other"):
        choice(b, condition, branch("t", "Relu", x), branch("e", "ArgMax", x))


def loop(b: Builder, initial: Value, grow: bool) -> Value:
    """A loop that adds 1 to (or appends a row of ones to) the carried tensor, three times."""
    body = Graph(
        "body",
        [("i", TensorType(dtypes.INT64, ())), ("go", TensorType(dtypes.BOOL, ())), ("state", initial.type)],
    )
    ones = body.constant(np.ones((1, 2), np.float32))
    name, attributes = ("onnx.Concat", {"axis": 0}) if grow else ("onnx.Add", {})
    operation = make_operation(name, [body.inputs[2], ones], attributes, result_names=["next"])
    body.append(operation)
    body.set_outputs([body.inputs[1], operation.result, operation.result])
    operands = [b.constant(3), None, initial]
    made = make_operation("onnx.Loop", operands, graphs={"body": body}, result_names=["last", "all"])
    b.graph.append(made)
    b.graph.set_outputs(made.results)
    return made.result if len(made.results) == 1 else made.results[0]


def test_a_carried_shape_that_stays() -> None:
    b = Builder(x="1,2")
    assert shown(loop(b, b.input("x"), grow=False)) == "1,2"
    last, stacked = evaluate_graph(b.graph, [np.zeros((1, 2), np.float32)])
    np.testing.assert_array_equal(last, [[3, 3]])
    np.testing.assert_array_equal(stacked, [[[1, 1]], [[2, 2]], [[3, 3]]])


def test_a_carried_shape_that_grows() -> None:
    b = Builder(x="1,2")
    assert shown(loop(b, b.input("x"), grow=True)) == "last_0,2"


def test_a_fused_body_takes_the_types_of_its_operands() -> None:
    b = Builder(x="4,5")
    body = Graph("body", [("a", tensor("n,m"))])
    body.append(make_operation("onnx.Relu", body.inputs, result_names=["y"]))
    body.set_outputs([next(iter(body)).result])
    fused = make_operation("optc.fused", [b.input("x")], graphs={"body": body})
    assert shown(fused.result) == "4,5"
