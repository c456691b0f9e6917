"""Padded channels keep every number, and joins of them cut no blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from optc import targets
from optc.costmodel.analytical import AnalyticalCostModel
from optc.ir.core import Graph, Module, Value
from optc.ir.verifier import verify
from optc.ops.evaluate import evaluate_graph
from optc.passes.base import PassContext
from optc.passes.layout.assign import AssignLayouts, predicted_seconds
from optc.passes.layout.channels import ChannelClasses, Spread
from optc.passes.layout.cut import LabelProblem
from optc.passes.layout.pad_channels import PadChannels, spread_channels
from tests.graph_kit import Builder
from tests.passes.fusion.graphs import inputs_of, modules, native

TARGET = targets.load("x86-64-v3")
MODEL = AnalyticalCostModel()


def context() -> PassContext:
    return PassContext(target=TARGET, cost_model=MODEL, supports=native)


def conv(build: Builder, source: Value, out: int, *, group: int = 1, bias: bool = False) -> Value:
    generator = np.random.default_rng(out)
    shape = (out, source.shape[1] // group, 3, 3)
    operands = [source, build.constant(generator.standard_normal(shape) / np.prod(shape[1:]), np.float32)]
    if bias:
        operands.append(build.constant(generator.standard_normal(out), np.float32))
    return build("Conv", *operands, pads=(1, 1, 1, 1), group=group)


def ghost(build: Builder, source: Value, out: int) -> Value:
    """Half of the channels by a convolution, the other half from these by a depthwise one."""
    half = build("Relu", conv(build, source, out // 2, bias=True))
    return build("Concat", half, build("Relu", conv(build, half, out // 2, group=out // 2, bias=True)), axis=1)


def padded(graph: Graph) -> list[tuple[int, ...]]:
    """Pad what can be, compare the numbers, and return the shapes of the joins."""
    module = Module(graph)
    expected = evaluate_graph(graph, inputs_of(module))
    classes = ChannelClasses(graph)
    spread_channels(classes, classes.spreads(8))
    verify(module)
    for left, right in zip(expected, evaluate_graph(graph, inputs_of(module)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
    return [operation.results[0].shape for operation in graph if operation.name == "onnx.Concat"]


@pytest.mark.parametrize(("channels", "faster"), [(72, True), (20, False)])
def test_padding_is_chosen_where_it_is_predicted_to_be_faster(channels: int, faster: bool) -> None:
    build = Builder(x="1,24,56,56")
    joined = ghost(build, build.input("x"), channels)
    build.graph.set_outputs([conv(build, joined, 16)])
    asked = context()
    before = predicted_seconds(build.graph, 8, asked)
    assert PadChannels().run(Module(build.graph), asked) is faster
    after = predicted_seconds(build.graph, 8, asked)
    assert after < before if faster else after == before
    assert [remark.status for remark in asked.remarks] == ["applied" if faster else "missed"]


def test_the_halves_of_a_ghost_module_are_rounded_up() -> None:
    build = Builder(x="1,24,28,28")
    joined = ghost(build, build.input("x"), 72)
    build.graph.set_outputs([conv(build, joined, 16)])
    assert padded(build.graph) == [(1, 80, 28, 28)]


def test_a_residual_addition_spreads_both_sides_alike() -> None:
    build = Builder(x="1,16,28,28")
    source = build.input("x")
    scale = build.constant(np.arange(24).reshape(1, 24, 1, 1), np.float32)
    joined = build("Mul", ghost(build, source, 24), scale)
    gate = build("HardSigmoid", conv(build, build("GlobalAveragePool", joined), 24))
    summed = build("Add", build("Mul", joined, gate), conv(build, source, 24))
    build.graph.set_outputs([conv(build, build("MaxPool", summed, kernel_shape=(2, 2)), 16)])
    assert padded(build.graph) == [(1, 32, 28, 28)]


def test_a_join_of_joins_is_aligned_throughout() -> None:
    build = Builder(x="1,16,28,28")
    inner = ghost(build, build.input("x"), 24)
    outer = build("Concat", inner, conv(build, build.input("x"), 20), inner, axis=1)
    build.graph.set_outputs([conv(build, outer, 16)])
    assert padded(build.graph) == [(1, 32, 28, 28), (1, 88, 28, 28)]


def test_channels_that_leave_the_graph_stay() -> None:
    build = Builder(x="1,24,28,28")
    build.graph.set_outputs([ghost(build, build.input("x"), 72)])
    assert padded(build.graph) == [(1, 72, 28, 28)]


def test_operations_that_mix_channels_hold_them() -> None:
    build = Builder(x="1,24,28,28")
    joined = build("Softmax", ghost(build, build.input("x"), 72), axis=1)
    build.graph.set_outputs([conv(build, joined, 16)])
    assert padded(build.graph) == [(1, 72, 28, 28)]


def test_contradicting_positions_are_given_up() -> None:
    build = Builder(x="1,16,28,28")
    thin, wide = conv(build, build.input("x"), 12), conv(build, build.input("x"), 20)
    left, right = build("Concat", thin, wide, axis=1), build("Concat", wide, thin, axis=1)
    build.graph.set_outputs([conv(build, build("Add", left, right), 16)])
    assert ChannelClasses(build.graph).spreads(8) == {}


def test_spreads() -> None:
    assert Spread.rounded(12, 8) == Spread(16, tuple(range(12)))
    assert Spread.joined([Spread(4, (0, 1)), Spread(3, (2,))]) == Spread(7, (0, 1, 6))
    assert Spread.rounded(16, 8).is_identity


@settings(max_examples=80, deadline=None, derandomize=True)
@given(modules(max_operations=14, channels=(8, 12, 20)))
def test_padded_modules_compute_the_same(module: Module) -> None:
    expected = evaluate_graph(module.main, inputs_of(module))
    padded(module.main)
    AssignLayouts().run(module, context())
    verify(module)
    for left, right in zip(expected, evaluate_graph(module.main, inputs_of(module)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_the_minimum_counts_constant_terms() -> None:
    problem = LabelProblem(constant=1.0)
    problem.label_cost("a", blocked=2.0, plain=3.0)
    problem.conversion_cost("a", [LabelProblem.PLAIN], 4.0)
    assert abs(problem.minimum() - 4.0) < 1e-9
