"""Blocks of several contractions in one kernel: against onnxruntime, for every thread count, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contraction_cases import Case, Compiled, GroupBuilder, blocked, check, random_arrays

from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.template import Schedule, Template, templates_for
from optc.backends.tvm.templates.block import Block
from optc.ir.core import Value
from optc.ir.types import PLAIN
from optc.targets import Target, load

RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def host() -> Target:
    return replace(load("cpu"), cores=2, parallel_seconds=0.0)


def weights(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def conv(
    builder: GroupBuilder,
    data: Value,
    filters: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    depthwise: bool = False,
    pads: int | None = None,
    layout: int = 8,
    activation: str | None = "clip",
) -> Value:
    """A convolution with bias and activation, its result stored in blocks."""
    channels = data.shape[1]
    weight = builder.constant(weights(channels if depthwise else filters, 1 if depthwise else channels, kernel, kernel))
    bias = builder.constant(RANDOM.standard_normal(filters).astype(np.float32))
    pad = kernel // 2 if pads is None else pads
    group = channels if depthwise else 1
    value = builder.op("onnx.Conv", data, weight, bias, pads=(pad,) * 4, strides=(stride, stride), group=group)
    if activation == "clip":
        value = builder.op("onnx.Clip", value, builder.scalar(0.0), builder.scalar(1.0))
    elif activation == "silu":
        value = builder.op("onnx.Mul", value, builder.op("onnx.Sigmoid", value))
    value.type = value.tensor_type.with_layout(blocked(layout))
    return value


def case(builder: GroupBuilder, output: Value, point: int = 0) -> Case:
    group = builder.group(output)

    def chosen(points: list[Schedule]) -> Schedule:
        points = Block().points(group, replace(load("cpu"), cores=2, parallel_seconds=0.0))
        return points[point % len(points)]

    return Case(builder, group, "block", chosen)


def separable(size: tuple[int, int], channels: int, filters: int, kernel: int, stride: int, point: int = 0) -> Case:
    builder = GroupBuilder()
    data = builder.input((1, channels, *size), blocked(8))
    middle = conv(builder, data, channels, kernel, stride=stride, depthwise=True)
    return case(builder, conv(builder, middle, filters, activation=None), point)


def inverted(
    size: tuple[int, int],
    channels: int,
    kernel: int,
    stride: int,
    *,
    batch: int = 1,
    activation: str = "clip",
    point: int = 0,
) -> Case:
    builder = GroupBuilder()
    data = builder.input((batch, channels, *size), blocked(8))
    wide = conv(builder, data, 3 * channels, activation=activation)
    middle = conv(builder, wide, 3 * channels, kernel, stride=stride, depthwise=True, activation=activation)
    result = conv(builder, middle, channels, activation=None)
    if stride == 1:
        result = builder.op("onnx.Add", result, data)
        result.type = result.tensor_type.with_layout(blocked(8))
    return case(builder, result, point)


def perceptron(shape: tuple[int, ...], wide: int, point: int = 0, *, residual: bool = True) -> Case:
    builder = GroupBuilder()
    data = builder.input(shape)
    depth = shape[-1]
    value = builder.op("onnx.MatMul", data, builder.constant(weights(depth, wide)))
    value = builder.op("onnx.Add", value, builder.constant(RANDOM.standard_normal(wide).astype(np.float32)))
    value = builder.op("onnx.Relu", value)
    value = builder.op("onnx.MatMul", value, builder.constant(weights(wide, depth)))
    if residual:
        value = builder.op("onnx.Add", value, data)
    return case(builder, value, point)


def test_depthwise_then_pointwise(host: Target, tmp_path: Path) -> None:
    shapes = [
        ((13, 11), 16, 24, 3, 1),
        ((14, 9), 8, 16, 3, 2),
        ((15, 17), 24, 40, 5, 2),
        ((7, 7), 16, 8, 5, 1),
        ((9, 2), 8, 8, 3, 1),
        ((12, 10), 12, 20, 3, 1),
    ]
    cases = [separable(*shape, point=point) for shape in shapes for point in (0, 3)]
    check(cases, host, tmp_path, threads=2)


def test_inverted_residuals(host: Target, tmp_path: Path) -> None:
    cases = [
        inverted((13, 11), 16, 3, 1),
        inverted((13, 11), 8, 5, 1, point=5),
        inverted((14, 14), 8, 3, 2, point=9),
        inverted((23, 6), 8, 5, 2, batch=3, point=3),
        inverted((16, 16), 8, 3, 1, batch=2, activation="silu", point=1),
    ]
    check(cases, host, tmp_path, threads=2)


def test_full_convolutions(host: Target, tmp_path: Path) -> None:
    cases = []
    for point in (0, 4, 7):
        builder = GroupBuilder()
        data = builder.input((1, 16, 17, 12), blocked(8))
        result = builder.op("onnx.Add", conv(builder, conv(builder, data, 16, 3), 16, 3), data)
        cases.append(case(builder, result, point))
    builder = GroupBuilder()
    data = builder.input((1, 8, 21, 15), blocked(8))
    cases.append(case(builder, conv(builder, conv(builder, conv(builder, data, 16, 3, stride=2), 8, 1), 16, 3, pads=0)))
    check(cases, host, tmp_path, threads=2)


def test_what_stands_around_the_contractions(host: Target, tmp_path: Path) -> None:
    builder = GroupBuilder()
    data = builder.op("onnx.Relu", builder.input((1, 16, 12, 9), blocked(8)))
    prologue = case(builder, conv(builder, conv(builder, data, 24, layout=16), 8, 3, activation="silu"))
    builder = GroupBuilder()
    data = builder.input((1, 16, 19, 11), blocked(16))
    weight = builder.constant(weights(16, 1, 3, 3))
    dilated = builder.op("onnx.Conv", data, weight, group=16, pads=(2, 1, 2, 3), dilations=(2, 2))
    dilated.type = dilated.tensor_type.with_layout(blocked(16))
    product = conv(builder, dilated, 20, layout=1, activation=None)
    group = builder.group(product, builder.op("onnx.Relu", product), layouts=[PLAIN, blocked(8)])
    outputs = Case(builder, group, "block", lambda points: points[1])
    builder = GroupBuilder()
    data = builder.input((1, 16, 14, 14), blocked(8))
    wide = conv(builder, data, 32, layout=8)
    gate = builder.op("onnx.Sigmoid", builder.input((1, 32, 1, 1), blocked(8)))
    gated = builder.op("onnx.Mul", wide, gate)
    gated.type = gated.tensor_type.with_layout(blocked(8))
    same = builder.constant(weights(32, 1, 3, 3))
    strided = builder.op("onnx.Conv", gated, same, group=32, auto_pad="SAME_UPPER", strides=(2, 2))
    strided.type = strided.tensor_type.with_layout(blocked(8))
    check([prologue, outputs, case(builder, strided)], host, tmp_path, threads=2)


def test_perceptrons(host: Target, tmp_path: Path) -> None:
    cases = [
        perceptron((1, 37, 24), 80),
        perceptron((3, 19, 32), 48, 3),
        perceptron((50, 16), 64, 5, residual=False),
        perceptron((2, 3, 8, 16), 40, 2),
    ]
    check(cases, host, tmp_path, threads=2)


def test_narrow_vectors_and_more_cores_than_rows(host: Target, tmp_path: Path) -> None:
    target = replace(host, vector_bytes=16, vector_registers=16, cores=4)
    cases = [
        inverted((13, 11), 8, 3, 1, point=2),
        inverted((3, 6), 8, 5, 1, batch=2),
        separable((5, 9), 16, 24, 3, 2),
        perceptron((1, 37, 24), 80),
    ]
    check(cases, target, tmp_path, threads=3)


def test_what_is_no_chain_of_rows_is_refused(host: Target) -> None:
    def refusal(builder: GroupBuilder, output: Value) -> str | None:
        return Template.registry["block"].refuses(builder.group(output), host)

    builder = GroupBuilder()
    single = conv(builder, builder.input((1, 8, 9, 9), blocked(8)), 8, 3)
    assert refusal(builder, single) == "1 contractions"
    builder = GroupBuilder()
    column = conv(builder, builder.input((1, 8, 9, 1), blocked(8)), 8, 3, depthwise=True)
    assert refusal(builder, conv(builder, column, 8)) == "onnx.Conv has a single row"
    builder = GroupBuilder()
    left, right = (conv(builder, builder.input((1, 8, 9, 9), blocked(8)), 8) for _ in range(2))
    assert refusal(builder, builder.op("onnx.Add", left, right)) == "onnx.Conv does not feed onnx.Conv"
    builder = GroupBuilder()
    middle = conv(builder, builder.input((1, 8, 9, 9), blocked(8)), 8, activation=None)
    last = builder.op("onnx.Add", conv(builder, middle, 8, activation=None), middle)
    assert refusal(builder, last) == f"'{middle.name}' is read more than once"
    builder = GroupBuilder()
    first = builder.op("onnx.MatMul", builder.input((4, 8, 6)), builder.constant(weights(6, 6)))
    turned = builder.op("onnx.Transpose", first, perm=(0, 2, 1))
    product = builder.op("onnx.MatMul", turned, builder.constant(weights(8, 8)))
    assert refusal(builder, product) == f"'{turned.name}' is not stored in the order in which onnx.MatMul makes it"


def test_groups_that_no_block_template_takes_have_no_kernel(host: Target) -> None:
    builder = GroupBuilder()
    column = conv(builder, builder.input((1, 8, 9, 1), blocked(8)), 8, 3, depthwise=True)
    found = templates_for(builder.group(conv(builder, column, 8)), host)
    assert isinstance(found, str)
    assert "several contractions" in found


def test_thread_counts_give_the_same_bits(host: Target, tmp_path: Path) -> None:
    cases = [separable((13, 11), 16, 24, 3, 1), inverted((13, 11), 16, 3, 1), perceptron((1, 37, 24), 80)]
    definitions = [each.definition(host) for each in cases]
    libraries = [Compiled(definitions, host, tmp_path, threads) for threads in (1, 2, 3)]
    for number, each in enumerate(cases):
        arrays = random_arrays(each, number)
        first, *others = (library.run(number, each.group, arrays) for library in libraries)
        for other in others:
            np.testing.assert_array_equal(first[0], other[0])
