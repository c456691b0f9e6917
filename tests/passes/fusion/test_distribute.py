"""Element-wise operations on the parts of a Concat compute the same, and are chosen where kernels can take them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from optc import targets
from optc.costmodel.analytical import AnalyticalCostModel
from optc.ir.core import CONSTANT, Graph, Module, Value
from optc.ir.printer import print_module
from optc.ir.verifier import verify
from optc.ops.evaluate import evaluate_graph
from optc.passes.base import PassContext
from optc.passes.fusion.distribute import Distribute
from optc.passes.layout.assign import AssignLayouts
from tests.graph_kit import Builder
from tests.passes.fusion.graphs import inputs_of, modules, native


def context() -> PassContext:
    return PassContext(target=targets.load("x86-64-v3"), cost_model=AnalyticalCostModel(), supports=native)


def conv(build: Builder, source: Value, out: int) -> Value:
    weights = np.random.default_rng(out).standard_normal((out, source.shape[1], 1, 1)) / source.shape[1]
    return build("Conv", source, build.constant(weights, np.float32))


def distributed(graph: Graph) -> list[str]:
    """Run the pass, compare the numbers, and return the names of the operations."""
    module = Module(graph)
    expected = evaluate_graph(graph, inputs_of(module))
    Distribute().run(module, context())
    verify(module)
    for left, right in zip(expected, evaluate_graph(graph, inputs_of(module)), strict=True):
        np.testing.assert_array_equal(left, right)
    return [operation.name.removeprefix("onnx.") for operation in graph if operation.name != CONSTANT]


def test_a_residual_addition_goes_into_the_convolutions() -> None:
    build = Builder(x="1,16,28,28")
    x = build.input("x")
    joined = build("Concat", conv(build, x, 8), conv(build, x, 8), axis=1)
    build.graph.set_outputs([build("Add", joined, x)])
    assert distributed(build.graph) == ["Conv", "Conv", "Slice", "Add", "Slice", "Add", "Concat"]


def test_two_joins_alike_meet_part_by_part() -> None:
    build = Builder(x="1,16,28,28")
    left, right = (build("Concat", *(conv(build, build.input("x"), 8) for _ in range(2)), axis=1) for _ in range(2))
    build.graph.set_outputs([build("Mul", left, right)])
    assert distributed(build.graph) == ["Conv"] * 4 + ["Mul", "Mul", "Concat"]


@pytest.mark.parametrize("shape", [(1, 24, 1, 1), (24, 1, 1), (1, 1, 1, 28), (1,)])
def test_constants_are_divided_where_they_have_channels(shape: tuple[int, ...]) -> None:
    build = Builder(x="1,16,28,28")
    joined = build("Concat", conv(build, build.input("x"), 8), conv(build, build.input("x"), 16), axis=1)
    constant = build.constant(np.arange(np.prod(shape)).reshape(shape), np.float32)
    build.graph.set_outputs([build("Relu", build("Mul", joined, constant))])
    assert distributed(build.graph) == ["Conv", "Conv", "Mul", "Mul", "Relu", "Relu", "Concat"]


@pytest.mark.parametrize("case", ["alone", "read twice", "unaligned", "broadcast"])
def test_what_gains_nothing_or_cannot_be_stays_as_it_is(case: str) -> None:
    rows = 7 if case == "unaligned" else 28
    build = Builder(x=f"1,16,{rows},{rows}", y=f"1,16,{rows},{rows}", z=f"1,17,{rows},{rows}")
    x, y, z = build.graph.inputs
    if case == "alone":
        sums = [build("CumSum", each, build.constant(2)) for each in (x, y)]
        outputs = [build("Relu", build("Concat", *sums, axis=1))]
    elif case == "read twice":
        joined = build("Concat", conv(build, x, 8), conv(build, y, 8), axis=1)
        outputs = [build("Relu", joined), build("Neg", joined)]
    elif case == "unaligned":
        outputs = [build("Add", build("Concat", conv(build, x, 1), conv(build, y, 16), axis=1), z)]
    else:
        joined = build("Concat", conv(build, x, 1), conv(build, x, 1), axis=0)
        outputs = [build("Add", joined, y)]
    build.graph.set_outputs(outputs)
    module = Module(build.graph)
    before = print_module(module)
    assert Distribute().run(module, context()) is False
    assert print_module(module) == before


@settings(max_examples=60, deadline=None, derandomize=True)
@given(modules(max_operations=14))
def test_random_modules_compute_the_same(module: Module) -> None:
    AssignLayouts().run(module, context())
    distributed(module.main)
