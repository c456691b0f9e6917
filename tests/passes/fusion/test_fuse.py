"""Fusion keeps the numbers, covers everything natively possible, and its division is the cheapest there is."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings

from optc import targets
from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate
from optc.ir.clone import clone_module
from optc.ir.core import CONSTANT, Graph, Module, Operation
from optc.ir.dtypes import FLOAT32
from optc.ir.types import TensorType
from optc.ir.verifier import verify
from optc.ops.declaration import Kind, declaration_of
from optc.ops.evaluate import evaluate_graph
from optc.ops.inference import make_operation
from optc.ops.views import parts
from optc.passes.base import PassContext
from optc.passes.fusion.build import FUSED
from optc.passes.fusion.fuse import Fuse
from optc.passes.fusion.orders import depth_first
from optc.passes.fusion.rules import GroupRules
from optc.passes.fusion.search import divide, sharing_seconds
from optc.passes.layout.assign import AssignLayouts
from tests.passes.fusion.graphs import inputs_of, modules, native

TARGET = targets.load("x86-64-v3")
MODEL = AnalyticalCostModel()


def context() -> PassContext:
    return PassContext(target=TARGET, cost_model=MODEL, supports=native)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(modules())
def test_planned_modules_compute_the_same(module: Module) -> None:
    expected = evaluate_graph(module.main, inputs_of(module))
    planned = clone_module(module)
    asked = context()
    AssignLayouts().run(planned, asked)
    verify(planned)
    Fuse().run(planned, asked)
    verify(planned)
    got = evaluate_graph(planned.main, inputs_of(planned))
    for left, right in zip(expected, got, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)
    for operation in planned.main:
        assert operation.name in (FUSED, CONSTANT) or parts(operation)
        if operation.name == FUSED:
            kinds = [declaration_of(inner.name).kind for inner in operation.graphs["body"]]
            assert sum(kind is Kind.CONTRACTION for kind in kinds) <= 1
            assert len(operation.operands) <= 12
            assert operation.location.nodes


@settings(max_examples=40, deadline=None, derandomize=True)
@given(modules(max_operations=8))
def test_the_division_is_the_cheapest_of_all(module: Module) -> None:
    operations = [operation for operation in module.main if operation.name != CONSTANT]
    rules = GroupRules(native)
    sharing = sharing_seconds(operations, MODEL, TARGET)
    found = sum(run.seconds for run in divide(operations, rules, MODEL, TARGET, sharing))
    best = float("inf")
    for cuts in product((False, True), repeat=len(operations) - 1):
        ends = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(operations)]
        runs = [Candidate.of_operations(operations[a:b]) for a, b in pairwise(ends)]
        if all(rules.refusal(run) is None for run in runs):
            seconds = [estimate.seconds for estimate in MODEL.predict(runs, TARGET)]
            for position, run in enumerate(runs):
                if len(run.operations) == 1:
                    seconds[position] = min(seconds[position], sharing.get(run.operations[0], float("inf")))
            best = min(best, sum(seconds))
    assert found == pytest.approx(best, rel=1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(modules())
def test_depth_first_orders_are_topological(module: Module) -> None:
    operations = [operation for operation in module.main if operation.name != CONSTANT]
    order = depth_first(operations)
    assert sorted(map(id, order)) == sorted(map(id, operations))
    seen: set[object] = set()
    for operation in order:
        producers = {value.producer for value in operation.present_operands if value.producer in operations}
        assert producers <= seen
        seen.add(operation)


def test_without_a_target_nothing_happens() -> None:
    graph = Graph("main", [("x", TensorType(FLOAT32, (4,)))])
    graph.append(make_operation("onnx.Relu", [graph.inputs[0]]))
    assert Fuse().run(Module(graph), PassContext()) is False
    assert [operation.name for operation in graph] == ["onnx.Relu"]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(modules())
def test_groups_that_a_backend_refuses_are_divided_otherwise(module: Module) -> None:
    def few_operations(group: Operation) -> str | None:
        inside = sum(operation.name != CONSTANT for operation in group.graphs["body"])
        return f"{inside} operations are too many" if inside > 2 else None

    expected = evaluate_graph(module.main, inputs_of(module))
    asked = context()
    asked.accepts = few_operations
    Fuse().run(module, asked)
    verify(module)
    assert all(few_operations(operation) is None for operation in module.main if operation.name == FUSED)
    for left, right in zip(expected, evaluate_graph(module.main, inputs_of(module)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)


def test_branches_that_wait_for_each_other_are_merged_across_orders() -> None:
    """An upsampling that is made early joins the addition that reads it late."""
    graph = Graph("main", [("x", TensorType(FLOAT32, (1, 8, 8, 8))), ("y", TensorType(FLOAT32, (1, 8, 16, 16)))])
    sizes = graph.constant(np.array([1, 8, 16, 16], np.int64), "sizes")
    up = graph.append(make_operation("onnx.Resize", [graph.inputs[0], None, None, sizes], {"mode": "nearest"}))
    left = graph.append(make_operation("onnx.Relu", [graph.inputs[1]]))
    mean = graph.append(make_operation("onnx.GlobalAveragePool", [left.result]))
    gated = graph.append(make_operation("onnx.Mul", [left.result, mean.result]))
    total = graph.append(make_operation("onnx.Add", [gated.result, up.result]))
    graph.set_outputs([total.result])
    Fuse().run(Module(graph), context())
    kernels = [
        [inner.name for inner in operation.graphs["body"] if inner.name != CONSTANT]
        for operation in graph
        if operation.name == FUSED
    ]
    assert sorted(kernels[-1]) == ["onnx.Add", "onnx.Mul", "onnx.Resize"]
