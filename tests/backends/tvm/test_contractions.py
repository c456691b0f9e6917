"""Kernels of convolutions and matrix products against onnxruntime."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest
from contraction_cases import Case, GroupBuilder, blocked, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.template import Template, template_for
from optc.ir import dtypes
from optc.targets import Target, load

RANDOM = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * 0.3).astype(np.float32)


def small(low: int, high: int, dtype: type, *shape: int) -> np.ndarray:
    return RANDOM.integers(low, high, shape).astype(dtype)


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


EPILOGUES = ("none", "relu", "clip", "silu", "residual", "gate")


def conv_case(
    *,
    channels: int = 16,
    filters: int = 24,
    size: tuple[int, ...] = (9, 10),
    kernel: tuple[int, ...] = (3, 3),
    strides: tuple[int, ...] = (1, 1),
    dilations: tuple[int, ...] = (1, 1),
    pads: tuple[int, ...] = (1, 1, 1, 1),
    depthwise: bool = False,
    batch: int = 1,
    block_in: int = 8,
    block_out: int = 8,
    epilogue: str = "relu",
    prologue: bool = False,
    point: int = 0,
) -> Case:
    """A convolution with bias between a prologue and an epilogue."""
    filters = channels if depthwise else filters
    builder = GroupBuilder()
    data = builder.input((batch, channels, *size), blocked(block_in))
    if prologue:
        data = builder.op("onnx.Relu", data)
    weight = builder.constant(floats(filters, 1 if depthwise else channels, *kernel))
    groups = {"group": channels} if depthwise else {}
    result = builder.op(
        "onnx.Conv",
        data,
        weight,
        builder.constant(floats(filters)),
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        **groups,
    )
    if epilogue in ("relu", "residual"):
        if epilogue == "residual":
            result = builder.op("onnx.Add", result, builder.input(result.shape, blocked(block_out)))
        result = builder.op("onnx.Relu", result)
    elif epilogue == "clip":
        result = builder.op("onnx.Clip", result, builder.scalar(-0.5), builder.scalar(0.5))
    elif epilogue == "silu":
        result = builder.op("onnx.Mul", result, builder.op("onnx.Sigmoid", result))
    elif epilogue == "gate":
        spread = (1,) * len(size)
        result = builder.op("onnx.Mul", result, builder.input((batch, filters, *spread), blocked(block_out)))
    group = builder.group(result, layouts=[blocked(block_out)])
    return Case(builder, group, choose=lambda points: points[point % len(points)])


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    depthwise = draw(st.booleans())
    kernel = tuple(draw(st.sampled_from((1, 2, 3, 5))) for _ in range(2))
    dilations = tuple(draw(st.sampled_from((1, 1, 2))) for _ in range(2))
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(draw(st.integers(0, min(3, reach[i % 2]))) for i in range(4))
    size = tuple(draw(st.integers(max(1, reach[i] + 1 - pads[i]), 19)) for i in range(2))
    block = draw(st.sampled_from((8, 16)))
    return conv_case(
        channels=draw(st.sampled_from((3, 8, 20, 24))),
        filters=draw(st.sampled_from((5, 16, 24, 40))),
        size=size,
        kernel=kernel,
        strides=tuple(draw(st.sampled_from((1, 2, 3))) for _ in range(2)),
        dilations=dilations,
        pads=pads,
        depthwise=depthwise,
        batch=draw(st.sampled_from((1, 1, 2))),
        block_in=block if depthwise else draw(st.sampled_from((1, 8, 16))),
        block_out=block if depthwise else draw(st.sampled_from((1, 8, 16))),
        epilogue=draw(st.sampled_from(EPILOGUES)),
        prologue=draw(st.booleans()),
        point=draw(st.integers(0, 40)),
    )


@settings(max_examples=2, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases=st.lists(convolutions(), min_size=12, max_size=12))
def test_convolutions_of_any_geometry(
    cases: list[Case], host: Target, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(cases, host, tmp_path_factory.mktemp("convolutions"))


def test_common_layers(host: Target, tmp_path: Path) -> None:
    cases = [
        conv_case(channels=3, filters=16, size=(23, 30), kernel=(7, 7), strides=(2, 2), pads=(3, 3, 3, 3), block_in=1),
        conv_case(channels=16, filters=32, size=(7, 7), epilogue="residual"),
        conv_case(channels=32, filters=16, size=(28, 28), kernel=(1, 1), pads=(0, 0, 0, 0), epilogue="clip"),
        conv_case(channels=16, size=(30, 31), kernel=(5, 5), pads=(2, 2, 2, 2), depthwise=True, epilogue="silu"),
        conv_case(channels=8, filters=8, size=(50,), kernel=(5,), strides=(2,), dilations=(1,), pads=(2, 2)),
    ]
    assert [template_for(case.group, host).name for case in cases] == [*["conv2d"] * 3, "depthwise", "conv2d"]
    check(cases, host, tmp_path)


def test_columns_of_one_element_become_rows(host: Target, tmp_path: Path) -> None:
    """A 1-D convolution written as a 2-D one is as fast as any other: its one long axis is the tiled one."""
    cases = [
        conv_case(size=(37, 1), kernel=(5, 1), pads=(0, 0, 0, 0)),
        conv_case(size=(37, 1), kernel=(5, 1), pads=(2, 0, 1, 0), strides=(2, 1), block_in=1, epilogue="residual"),
        conv_case(size=(40, 1), kernel=(3, 1), pads=(2, 0, 2, 0), dilations=(2, 1), depthwise=True, batch=2),
        conv_case(size=(9, 1), kernel=(3, 3), pads=(1, 1, 1, 1)),
    ]
    points = [Template.registry["conv2d"].space(case.group, host) for case in cases[:2]]
    assert all(dict(each)["columns"] > 1 for space in points for each in space)
    check(cases, host, tmp_path)


def product_case(
    rows: int,
    depth: int,
    columns: int,
    *,
    batch: tuple[int, ...] = (),
    gemm: dict[str, int | float] | None = None,
    epilogue: str = "add",
    point: int = 0,
) -> Case:
    """A product with a constant matrix."""
    builder = GroupBuilder()
    gemm_turned = bool(gemm and gemm.get("transA"))
    left = builder.input((*batch, depth, rows) if gemm_turned else (*batch, rows, depth))
    turned = bool(gemm and gemm.get("transB"))
    right = builder.constant(floats(columns, depth) if turned else floats(depth, columns))
    if gemm is not None:
        result = builder.op("onnx.Gemm", left, right, builder.constant(floats(columns)), **gemm)
    else:
        result = builder.op("onnx.MatMul", left, right)
    if epilogue == "add":
        result = builder.op("onnx.Add", result, builder.constant(floats(columns)))
    elif epilogue == "heads":
        shape = builder.graph.constant(np.array([*batch, rows, columns // 8, 8], np.int64))
        order = (0, 2, 1, 3) if batch else (1, 0, 2)
        result = builder.op("onnx.Transpose", builder.op("onnx.Reshape", result, shape), perm=order)
    group = builder.group(result)
    return Case(builder, group, "gemm", lambda points: points[point % len(points)])


@settings(max_examples=1, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shapes=st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 50), st.integers(1, 90), st.integers(0, 60)),
        min_size=12,
        max_size=12,
    )
)
def test_products_of_any_shape(
    shapes: list[tuple[int, int, int, int]], host: Target, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cases = [product_case(rows, depth, columns, point=point) for rows, depth, columns, point in shapes]
    check(cases, host, tmp_path_factory.mktemp("products"))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 kernels")
def test_last_tile_as_wide_as_the_others_but_not_full(tmp_path: Path) -> None:
    narrow = load("x86-64-v3")
    cases = [product_case(8, 12, columns, point=point) for columns in (28, 60) for point in range(8)]
    cases += [conv_case(filters=28, block_out=block, point=point) for block in (1, 8) for point in range(4)]
    check(cases, narrow, tmp_path)


def test_products_with_a_constant_matrix(host: Target, tmp_path: Path) -> None:
    cases = [
        product_case(1, 64, 100, gemm={"transB": 1}),
        product_case(9, 33, 20, gemm={"transA": 1, "alpha": 2.0, "beta": 0.5}),
        product_case(20, 16, 48, batch=(1,), epilogue="heads"),
        product_case(5, 16, 24, batch=(2, 3)),
    ]
    check(cases, host, tmp_path)


def turned_case(columns: int, *, constant: bool, block: int = 8, point: int = 0) -> Case:
    """Rows of channels become channel blocks beside a residual: a product with a matrix, transposed, plus a tensor."""
    builder = GroupBuilder()
    left = builder.input((1, 6, 10, 12))
    matrix = builder.constant(floats(12, columns)) if constant else builder.input((1, 1, 12, columns))
    turned = builder.op("onnx.Transpose", builder.op("onnx.MatMul", left, matrix), perm=(0, 3, 1, 2))
    result = builder.op("onnx.Add", turned, builder.input((1, columns, 6, 10), blocked(block)))
    template = "gemm" if constant else "matmul"
    return Case(builder, builder.group(result, layouts=[blocked(block)]), template, lambda points: points[point])


def test_products_are_stored_in_channel_blocks(host: Target, tmp_path: Path) -> None:
    cases = [turned_case(40, constant=constant, point=point) for constant in (True, False) for point in range(5)]
    cases += [turned_case(48, constant=True, block=16), turned_case(24, constant=False, block=4)]
    check(cases, host, tmp_path)


def test_products_leave_rounded_blocks_to_others(host: Target) -> None:
    group = turned_case(20, constant=True).group
    reason = "20 elements do not fill the blocks of an output"
    assert [Template.registry[name].refuses(group, host) for name in ("gemm", "matmul")] == [reason, reason]


def attention_case(batch: int, heads: int, tokens: int, depth: int, *, scores: bool) -> Case:
    """The two products of an attention layer with the movements around them."""
    builder = GroupBuilder()
    width = heads * depth

    def shape(*extents: int) -> object:
        return builder.graph.constant(np.array(extents, np.int64))

    def split(perm: tuple[int, ...]) -> object:
        wide = builder.input((batch, tokens, width))
        return builder.op(
            "onnx.Transpose", builder.op("onnx.Reshape", wide, shape(batch, tokens, heads, depth)), perm=perm
        )

    if scores:
        result = builder.op("onnx.MatMul", split((0, 2, 1, 3)), split((0, 2, 3, 1)))
        result = builder.op("onnx.Mul", result, builder.scalar(0.25))
        result = builder.op("onnx.Add", result, builder.input((batch, 1, 1, tokens)))
    else:
        weights = builder.input((batch, heads, tokens, tokens))
        result = builder.op("onnx.MatMul", weights, split((0, 2, 1, 3)))
        result = builder.op("onnx.Transpose", result, perm=(0, 2, 1, 3))
        result = builder.op("onnx.Reshape", result, shape(batch, tokens, width))
    return Case(builder, builder.group(result), "matmul")


def test_products_of_computed_matrices(host: Target, tmp_path: Path) -> None:
    broadcast = GroupBuilder()
    product = broadcast.op("onnx.MatMul", broadcast.input((2, 3, 4, 5)), broadcast.input((3, 5, 37)))
    computed = GroupBuilder()
    left, right = computed.op("onnx.Relu", computed.input((4, 5))), computed.op("onnx.Relu", computed.input((5, 37)))
    cases = [
        attention_case(1, 2, 20, 8, scores=True),
        attention_case(2, 3, 17, 16, scores=False),
        Case(broadcast, broadcast.group(product), "matmul"),
        Case(computed, computed.group(computed.op("onnx.MatMul", left, right)), "matmul"),
    ]
    check(cases, host, tmp_path)


def single(name: str, *operands: object, **attributes: object) -> Case:
    """One operation; arrays are constant operands, (shape, dtype) pairs inputs."""
    builder = GroupBuilder()
    values = [
        builder.constant(each) if isinstance(each, np.ndarray) else builder.input(each[0], dtype=each[1])
        for each in operands
    ]
    return Case(builder, builder.group(builder.op(name, *values, **attributes)))


def test_every_contraction_has_a_kernel(host: Target, tmp_path: Path) -> None:
    f32, u8 = dtypes.FLOAT32, dtypes.UINT8
    bytes_of = (np.uint8, np.int8)
    zero, other = (np.array(value, kind) for value, kind in zip((7, 3), bytes_of, strict=True))
    scale = np.array(0.1, np.float32)
    cases = [
        single("onnx.Conv", ((2, 12, 9, 7), f32), floats(8, 3, 3, 3), group=4, pads=(1, 1, 1, 1), strides=(2, 1)),
        single("onnx.Conv", ((1, 4, 5, 6, 7), f32), floats(6, 4, 3, 3, 3), auto_pad="SAME_UPPER", strides=(2, 2, 2)),
        single("onnx.Conv", ((1, 8, 9, 9), f32), floats(8, 1, 3, 3), group=8, auto_pad="SAME_LOWER"),
        single(
            "onnx.ConvTranspose",
            ((1, 6, 5, 4), f32),
            floats(6, 5, 3, 3),
            floats(5),
            strides=(2, 2),
            pads=(1, 1, 1, 1),
            output_padding=(1, 1),
        ),
        single("onnx.ConvTranspose", ((1, 6, 5, 4), f32), floats(6, 4, 2, 2), strides=(2, 2), group=3),
        single("onnx.MatMul", ((5,), f32), ((3, 5, 6), f32)),
        single("onnx.Gemm", ((5, 4), f32), ((6, 5), f32), ((4, 1), f32), transA=1, transB=1, alpha=0.5, beta=2.0),
        single("onnx.MatMulInteger", ((4, 5), u8), small(-100, 100, np.int8, 5, 6), zero, other),
        single("onnx.ConvInteger", ((1, 3, 6, 6), u8), small(0, 200, np.uint8, 4, 3, 3, 3), zero, zero, pads=(1,) * 4),
        single("onnx.Einsum", ((2, 3, 4, 5), f32), ((2, 6, 4, 5), f32), equation="bihd,bjhd->bhij"),
        single("onnx.Einsum", ((2, 3, 4), f32), ((4, 5), f32), equation="...k,kn->...n"),
    ]
    check(cases, host, tmp_path, tolerance=1e-4)
    per_filter = (np.abs(floats(4)) + 0.05).astype(np.float32)
    quantized = [
        single(
            "onnx.QLinearConv",
            ((1, 3, 6, 6), u8),
            scale,
            zero,
            small(-100, 100, np.int8, 4, 3, 3, 3),
            per_filter,
            np.zeros(4, np.int8),
            np.array(2.5, np.float32),
            np.array(100, np.uint8),
            small(-50, 50, np.int32, 4),
            pads=(1, 1, 1, 1),
        ),
        single(
            "onnx.QLinearMatMul",
            *(((4, 5), u8), scale, zero, small(0, 200, np.uint8, 5, 6), scale, zero),
            *(np.array(3.0, np.float32), np.array(100, np.uint8)),
        ),
    ]
    check(quantized, host, tmp_path, tolerance=0.0)


def test_results_do_not_depend_on_the_number_of_threads(host: Target, tmp_path: Path) -> None:
    from dataclasses import replace

    eager = replace(host, cores=4, parallel_seconds=0.0)
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        folder.mkdir()
        check([conv_case(batch=2), product_case(20, 30, 40), conv_case(depthwise=True)], eager, folder, threads=threads)


def test_narrow_registers_get_smaller_tiles() -> None:
    wide, narrow = load("cpu"), load("x86-64-v3")
    case = conv_case(channels=64, filters=64, size=(56, 56))
    template = Template.registry["conv2d"]
    for target in (wide, narrow):
        columns, vectors = (dict(template.space(case.group, target)[0])[name] for name in ("columns", "vectors"))
        assert columns * vectors + vectors + 1 <= target.vector_registers
        assert columns * vectors >= 4


def test_refusals_say_why(host: Target) -> None:
    grouped = single("onnx.Conv", ((1, 4, 5, 5), dtypes.FLOAT32), floats(4, 2, 3, 3), group=2).group
    assert Template.registry["conv2d"].refuses(grouped, host) == "more than one group"
    assert Template.registry["depthwise"].refuses(grouped, host) == "not one filter for each channel"
    assert Template.registry["gemm"].refuses(grouped, host) == "not a matrix product"
    narrow = single("onnx.Conv", ((1, 4, 5, 5), dtypes.FLOAT32), floats(20, 4, 3, 3)).group
    narrow.body.outputs[0].type = narrow.body.outputs[0].tensor_type.with_layout(blocked(2))
    reason = "the blocks of an output are narrower than half a vector"
    assert Template.registry["conv2d"].refuses(narrow, host) == reason
    builder = GroupBuilder()
    product = builder.op("onnx.MatMul", builder.input((4, 5)), builder.constant(floats(5, 6)))
    group = builder.group(builder.op("onnx.Softmax", product))
    assert Template.registry["gemm"].refuses(group, host) == "onnx.Softmax stands beside onnx.MatMul"
