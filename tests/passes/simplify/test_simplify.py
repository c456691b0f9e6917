"""The whole of simplify: random graphs keep their numbers, shape arithmetic goes away, and repeating it ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from graph_kit import Builder
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import assert_same, run

from optc.ir.clone import clone_module
from optc.ir.core import Module, Value
from optc.ir.printer import print_module
from optc.ir.verifier import verify
from optc.passes import registry
from optc.passes.base import PassContext
from optc.passes.simplify import ROUND
from optc.passes.simplify.simplify import Simplify

Step = Callable[["RandomGraph", Value], Value]
STEPS: list[Step] = []


def step(function: Step) -> Step:
    STEPS.append(function)
    return function


class RandomGraph:
    """Grows a graph from two inputs by steps that hold what the rules look for, and what only resembles it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.random = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.make = Builder(x="1,4,3,3", z="2,3,4")
        self.values = [self.make.input("x"), self.make.input("z")]
        for _ in range(draw(st.integers(1, 8))):
            chosen = draw(st.sampled_from(STEPS))
            source = draw(st.sampled_from(self.values[-3:]))
            self.values.append(chosen(self, source))
        graph = self.make.graph
        graph.set_outputs(list(dict.fromkeys(self.values[2:][-2:])), names=None)
        graph.output_names = [f"out{i}" for i in range(len(graph.outputs))]
        self.module = Module(graph)

    def numbers(self, *shape: int) -> Value:
        """A constant of random numbers, or one of those that rules look for."""
        special = self.draw(st.sampled_from([None, None, 0.0, 1.0, 2.0, -1.0, 0.5, 1 / 6]))
        array = self.random.uniform(-1.5, 1.5, shape) if special is None else np.full(shape, special)
        return self.make.constant(array.astype(np.float32), np.float32)

    def operand(self, value: Value) -> Value:
        """A constant that broadcasts with a value: a number, one per axis 1, one per last axis, or of full shape."""
        shape = value.shape
        ones = [1] * len(shape)
        forms: list[list[int]] = [[], list(shape), list(shape[-1:])]
        if len(shape) > 1:
            forms.append([*ones[:1], shape[1], *ones[2:]])
        return self.numbers(*self.draw(st.sampled_from(forms)))


@step
def arithmetic(g: RandomGraph, x: Value) -> Value:
    kind = g.draw(st.sampled_from(["Add", "Sub", "Mul"]))
    operands = [x, g.operand(x)]
    return g.make(kind, *(operands if g.draw(st.booleans()) else operands[::-1]))


@step
def division(g: RandomGraph, x: Value) -> Value:
    divisor = g.draw(st.sampled_from([1.0, 2.0, 3.0, float(np.sqrt(2)), 6.0]))
    return g.make("Div", x, g.make.constant(divisor, np.float32))


@step
def two_values(g: RandomGraph, x: Value) -> Value:
    same = [value for value in g.values if value.shape == x.shape]
    return g.make(g.draw(st.sampled_from(["Add", "Mul", "Sub", "Max"])), x, g.draw(st.sampled_from(same)))


@step
def unary(g: RandomGraph, x: Value) -> Value:
    return g.make(g.draw(st.sampled_from(["Relu", "Neg", "Sigmoid", "Tanh", "Identity", "Abs", "Softplus"])), x)


@step
def clamp(g: RandomGraph, x: Value) -> Value:
    low, high = g.draw(st.sampled_from([(0.0, 6.0), (-1.0, 1.0), (0.0, None), (None, 1.0), (2.0, 1.0)]))
    bounds = [None if bound is None else g.make.constant(bound, np.float32) for bound in (low, high)]
    return g.make("Clip", x, *bounds)


@step
def reshape(g: RandomGraph, x: Value) -> Value:
    size = int(np.prod(x.shape))
    shapes = [[size], [1, size], [-1, x.shape[-1]], [*x.shape, 1], [1, *x.shape], [0, -1]]
    shapes = [shape for shape in shapes if len(shape) <= 5]
    return g.make("Reshape", x, g.make.constant(g.draw(st.sampled_from(shapes))))


@step
def transpose(g: RandomGraph, x: Value) -> Value:
    return g.make("Transpose", x, perm=tuple(g.draw(st.permutations(range(len(x.shape))))))


@step
def squeeze_or_flatten(g: RandomGraph, x: Value) -> Value:
    if g.draw(st.booleans()):
        return g.make("Flatten", x, axis=g.draw(st.integers(0, len(x.shape))))
    return g.make("Unsqueeze", g.make("Squeeze", x), g.make.constant([0]))


@step
def cut(g: RandomGraph, x: Value) -> Value:
    axis = g.draw(st.integers(0, len(x.shape) - 1))
    begin, stride = g.draw(st.sampled_from([(0, 1), (1, 1), (0, 2)]))
    begin = min(begin, x.shape[axis] - 1)
    return g.make("Slice", x, *(g.make.constant([item]) for item in (begin, 2**62, axis, stride)))


@step
def reverse(g: RandomGraph, x: Value) -> Value:
    return g.make("Slice", x, *(g.make.constant([item]) for item in (-1, -(2**62), 0, -1)))


@step
def join(g: RandomGraph, x: Value) -> Value:
    return g.make("Concat", x, x, axis=g.draw(st.integers(-len(x.shape), len(x.shape) - 1)))


@step
def expand(g: RandomGraph, x: Value) -> Value:
    wide = g.make("Expand", x, g.make.constant([2, *[1] * len(x.shape)]))
    return g.make("Add", wide, x) if len(x.shape) < 5 else x


@step
def shape_chain(g: RandomGraph, x: Value) -> Value:
    shape = g.make("Shape", x)
    first = g.make("Gather", shape, g.make.constant(0), axis=0)
    vector = g.make("Unsqueeze", first, g.make.constant([0]))
    target = g.make("Concat", vector, g.make.constant([-1]), axis=0)
    return g.make("Reshape", x, target)


@step
def convolution(g: RandomGraph, x: Value) -> Value:
    if len(x.shape) != 4 or min(x.shape[2:]) < 1:
        return g.make("Neg", x)
    channels, pad = x.shape[1], g.draw(st.integers(0, 1))
    if pad and g.draw(st.booleans()):
        x = g.make("Pad", x, g.make.constant([0, 0, pad, pad, 0, 0, pad, pad]))
        pad = 0
    depthwise = g.draw(st.booleans())
    weight = g.numbers(channels if depthwise else 2, 1 if depthwise else channels, 1, 1)
    bias = [g.numbers(channels if depthwise else 2)] if g.draw(st.booleans()) else []
    return g.make("Conv", x, weight, *bias, pads=(pad,) * 4, group=channels if depthwise else 1)


@step
def transposed_convolution(g: RandomGraph, x: Value) -> Value:
    if len(x.shape) != 4 or x.shape[1] % 2:
        return g.make("Abs", x)
    return g.make("ConvTranspose", x, g.numbers(x.shape[1], 3, 2, 2), group=2, strides=(2, 2))


@step
def batch_norm(g: RandomGraph, x: Value) -> Value:
    if len(x.shape) < 2:
        return g.make("Neg", x)
    channels = x.shape[1]
    variance = g.make.constant(g.random.uniform(0.5, 2, channels), np.float32)
    return g.make("BatchNormalization", x, *(g.numbers(channels) for _ in range(3)), variance)


@step
def matrix_product(g: RandomGraph, x: Value) -> Value:
    if len(x.shape) < 2:
        return g.make("Neg", x)
    if len(x.shape) == 2 and g.draw(st.booleans()):
        transpose = g.draw(st.integers(0, 1))
        weight = g.numbers(3, x.shape[1]) if transpose else g.numbers(x.shape[1], 3)
        return g.make("Gemm", x, weight, g.numbers(3), alpha=0.5, beta=2.0, transB=transpose)
    return g.make("MatMul", x, g.numbers(x.shape[-1], 3))


@step
def scaled_scores(g: RandomGraph, x: Value) -> Value:
    if len(x.shape) < 2:
        return g.make("Neg", x)
    half = g.make.constant(0.5, np.float32)
    axes = list(range(len(x.shape)))
    flipped = g.make("Transpose", g.make("Mul", x, half), perm=(*axes[:-2], axes[-1], axes[-2]))
    return g.make("MatMul", g.make("Mul", x, half), flipped)


@step
def gelu(g: RandomGraph, x: Value) -> Value:
    root = g.draw(st.sampled_from([float(np.sqrt(2)), 1.5]))
    inner = g.make("Erf", g.make("Div", x, g.make.constant(root, np.float32)))
    factor = g.make("Add", inner, g.make.constant(1.0, np.float32))
    return g.make("Mul", g.make("Mul", x, g.make.constant(0.5, np.float32)), factor)


@step
def gated(g: RandomGraph, x: Value) -> Value:
    return g.make("Mul", x, g.make("Sigmoid", x))


@step
def hard_swish(g: RandomGraph, x: Value) -> Value:
    three, zero, six = (g.make.constant(number, np.float32) for number in (3.0, 0.0, 6.0))
    clipped = g.make("Clip", g.make("Add", x, three), zero, six)
    return g.make("Div", g.make("Mul", x, clipped), six)


@step
def normalization(g: RandomGraph, x: Value) -> Value:
    axes = g.make.constant([g.draw(st.sampled_from([-1, 0]))])
    centred = g.make("Sub", x, g.make("ReduceMean", x, axes))
    variance = g.make("ReduceMean", g.make("Mul", centred, centred), axes)
    root = g.make("Sqrt", g.make("Add", variance, g.make.constant(0.1, np.float32)))
    return g.make("Mul", g.make("Div", centred, root), g.numbers(x.shape[-1]))


@step
def softmax(g: RandomGraph, x: Value) -> Value:
    axes = g.make.constant([-1])
    power = g.make("Exp", g.make("Sub", x, g.make("ReduceMax", x, axes)))
    return g.make("Div", power, g.make("ReduceSum", power, axes))


@step
def casts(g: RandomGraph, x: Value) -> Value:
    return g.make("Cast", g.make("Cast", x, to=g.draw(st.sampled_from([11, 1, 6]))), to=1)


@st.composite
def graphs(draw: st.DrawFn) -> RandomGraph:
    return RandomGraph(draw)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(graphs())
def test_random_graphs_keep_their_numbers(graph: RandomGraph) -> None:
    module = graph.module
    verify(module)
    feeds = {
        value.name: graph.random.uniform(-2, 2, value.shape).astype(np.float32) for value in module.main.inputs
    }
    before = run(clone_module(module), feeds)
    twins = clone_module(module), clone_module(module)
    for twin in twins:
        Simplify().run(twin, PassContext())
    assert print_module(twins[0]) == print_module(twins[1])
    context = PassContext()
    for name in (*ROUND, "simplify"):
        registry.get(name)().run(module, context)
        verify(module)
    # Products of several random weights amplify the rounding of each; the scale is that of the largest element.
    assert_same(before, run(module, feeds), 3e-5)
    assert not any(item.name in ("onnx.Shape", "onnx.Gather", "onnx.Gemm", "onnx.Flatten") for item in module.walk())
    assert not Simplify().run(module, context)


@pytest.mark.parametrize("name", ROUND)
def test_every_pass_leaves_a_simple_graph_alone(name: str) -> None:
    make = Builder(x="2,3")
    make.graph.set_outputs([make("Relu", make.input("x"))])
    module = Module(make.graph)
    context = PassContext()
    assert not registry.get(name)().run(module, context)
    assert not context.remarks


def test_missed_rewrites_are_told_once() -> None:
    make = Builder(x="4")
    x = make.input("x")
    gate = make("Sigmoid", x)
    make.graph.set_outputs([make("Mul", x, gate), make("Identity", gate)], names=["y", "gate"])
    context = PassContext()
    Simplify().run(Module(make.graph), context)
    missed = [remark.reason for remark in context.remarks if (remark.status, remark.what) == ("missed", "swish")]
    assert missed == ["'y' is also read by the graph's outputs"]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_a_lookup_outside_the_table_gives_zeros(dtype: type) -> None:
    make = Builder(dtype=np.dtype(dtype).name.replace("int", "i"), i="2,6,1")
    numbers = make.constant(np.arange(5), dtype)
    table = make.constant(np.arange(10).reshape(5, 2) + 1, np.float32)
    one_hot = make("Cast", make("Equal", make.input("i"), numbers), to=1)
    make.graph.set_outputs([make("MatMul", one_hot, table)])
    module = Module(make.graph)
    feeds = {"i": np.asarray([[-6, -5, -1, 0, 1, 4], [5, 6, 2, 3, 100, 2**30]], dtype)[..., None]}
    before = run(clone_module(module), feeds)
    Simplify().run(module, PassContext())
    verify(module)
    assert "onnx.Gather" in {item.name for item in module.walk()}
    assert_same(before, run(module, feeds))


def test_weights_are_shared_and_kept() -> None:
    make = Builder(x="2,3")
    weight = np.arange(9, dtype=np.float32).reshape(3, 3)
    constant = make.constant(weight, np.float32)
    array = constant.constant
    first = make("MatMul", make.input("x"), constant)
    make.graph.set_outputs([make("MatMul", make("Identity", first), constant)])
    module = Module(make.graph)
    Simplify().run(module, PassContext())
    held = [item.attributes["value"] for item in module.main if item.name == "optc.constant"]
    assert len(held) == 1 and held[0] is array
