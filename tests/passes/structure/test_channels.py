"""Channels that go together: without those that nothing reads, a model computes the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from graph_kit import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.ir.clone import clone_module
from optc.ir.core import Module, Value
from optc.ops.onnx_export import to_onnx_model
from optc.passes.structure.channels import channels_of
from optc.passes.structure.removal import remove_units

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(2, 4, 6, 6)).astype(np.float32)


def weights(b: Builder, *shape: int) -> Value:
    return b.constant(RANDOM.normal(size=shape), np.float32)


def conv(b: Builder, x: Value, count: int, kernel: int = 3, group: int = 1, **more: object) -> Value:
    inside = x.shape[1] if isinstance(x.tensor_type.shape[1], int) else 0  # type: ignore[index]
    pad = kernel // 2
    return b(
        "Conv",
        x,
        weights(b, count, inside // group, kernel, kernel),
        weights(b, count),
        group=group,
        kernel_shape=(kernel, kernel),
        pads=(pad,) * 4,
        **more,  # type: ignore[arg-type]
    )


def chain(b: Builder) -> Value:
    y = b("Relu", conv(b, b.input("x"), 6))
    y = b("Flatten", b("MaxPool", conv(b, y, 5), kernel_shape=(2, 2), strides=(2, 2)), axis=1)
    y = b("Sigmoid", b("Gemm", y, weights(b, 7, 45), weights(b, 7), transB=1))
    return b("Add", b("MatMul", y, weights(b, 7, 3)), weights(b, 3))


def depthwise(b: Builder) -> Value:
    y = b("Clip", conv(b, b.input("x"), 6, 1), b.constant(0.0, np.float32), b.constant(6.0, np.float32))
    y = conv(b, conv(b, y, 12, 3, group=6), 4, 1)
    return b("ReduceMean", conv(b, y, 3, 1), b.constant([2, 3]), keepdims=0)


def residual(b: Builder) -> Value:
    first = b("Relu", conv(b, b.input("x"), 6))
    second = b("Add", conv(b, b("Mul", first, weights(b, 6, 1, 1)), 6), first)
    gate = b("Sigmoid", conv(b, b("GlobalAveragePool", second), 6, 1))
    pooled = b("GlobalAveragePool", conv(b, b("Mul", second, gate), 4))
    return b("MatMul", b("Reshape", pooled, b.constant([-1, 4])), weights(b, 4, 3))


def grouped(b: Builder) -> Value:
    y = b("Relu", conv(b, b.input("x"), 8))
    y = b("Relu", conv(b, y, 6, 3, group=2))
    return b("GlobalMaxPool", conv(b, y, 3, 1))


def concatenated(b: Builder) -> Value:
    left, right = conv(b, b.input("x"), 3), b("Tanh", conv(b, b.input("x"), 5))
    y = b("Concat", left, b.input("x"), right, axis=1)
    y = b("BatchNormalization", y, weights(b, 12), weights(b, 12), weights(b, 12), b.constant(np.ones(12), np.float32))
    return conv(b, y, 3, 1)


def moved(b: Builder) -> Value:
    y = b("Reshape", conv(b, b.input("x"), 6), b.constant([0, 6, 36]))
    y = b("MatMul", b("Transpose", y, perm=(0, 2, 1)), weights(b, 6, 5))
    return b("MatMul", b("Gelu", b("Add", y, weights(b, 5))), weights(b, 5, 2))


MODELS: dict[str, tuple[Callable[[Builder], Value], list[tuple[int, int]]]] = {
    "chain": (chain, [(6, 6), (5, 5), (7, 7)]),
    "depthwise": (depthwise, [(6, 6), (4, 4)]),
    "residual": (residual, [(6, 6), (4, 4)]),
    "grouped": (grouped, [(4, 4), (3, 3)]),
    "concatenated": (concatenated, [(3, 3), (5, 5)]),
    "moved": (moved, [(6, 6), (5, 5)]),
}


def build(name: str) -> Module:
    b = Builder(x="2,4,6,6")
    b.graph.set_outputs([MODELS[name][0](b)])
    return Module(b.graph)


def run(module: Module) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        to_onnx_model(module).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": X})[0]


def silenced(module: Module, units: set[int]) -> Module:
    """A copy in which nothing reads some units: the weights for them are zero."""
    copy = clone_module(module)
    channels = channels_of(copy.main)
    for item in channels.slices:
        if item.reads:
            value = item.operation.operands[item.position]
            assert value is not None and value.constant is not None
            array = np.moveaxis(value.constant.copy(), item.axis, 0)
            array[np.isin(channels.units(item.ids), list(units))] = 0.0
            made = copy.main.constant(np.ascontiguousarray(np.moveaxis(array, 0, item.axis)), value.name)
            item.operation.set_operand(item.position, made)
    return copy


@pytest.mark.parametrize("name", MODELS)
def test_families(name: str) -> None:
    families = channels_of(build(name).main).families
    assert [(len(family.units), family.total) for family in families] == MODELS[name][1]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.randoms(use_true_random=False))
def test_removing_what_nothing_reads_changes_nothing(name: str, random) -> None:  # type: ignore[no-untyped-def]
    module = build(name)
    units: set[int] = set()
    for family in channels_of(module.main).families:
        units.update(random.sample(family.units, random.randint(0, family.total - 1)))
    quiet = silenced(module, units)
    smaller = clone_module(quiet)
    kept = remove_units(smaller, units)
    assert bool(kept) == bool(units)
    for operation, places in kept.items():
        weight = operation.operands[1]
        assert weight is not None and len(places) in weight.shape and len(places) in operation.result.shape
    np.testing.assert_allclose(run(smaller), run(quiet), rtol=1e-4, atol=1e-5)


def test_what_the_model_returns_stays() -> None:
    b = Builder(x="2,4,6,6")
    y = conv(b, b.input("x"), 6)
    b.graph.set_outputs([y, b("Softmax", conv(b, y, 5), axis=1)])
    assert channels_of(b.graph).families == []


def test_a_family_keeps_a_channel() -> None:
    module = build("chain")
    family = channels_of(module.main).families[0]
    with pytest.raises(ValueError, match=f"no channel of {family.name} would be left"):
        remove_units(module, family.units)
    with pytest.raises(ValueError, match="unit 99 cannot be removed"):
        remove_units(module, {99})
