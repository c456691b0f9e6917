"""Integer contractions: sums equal to NumPy's to the last bit, for every instruction set that this machine runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.backends.tvm.codegen import llvm_source
from optc.backends.tvm.template import Schedule, Template, templates_for
from optc.backends.tvm.templates.dot_product import KINDS, kinds_for
from optc.ir import dtypes
from optc.ir.core import Attribute, Value
from optc.ir.types import PLAIN
from optc.ops.hints import WEIGHT_LIMIT
from optc.targets import Target, load
from tests.contraction_cases import Case, Compiled, GroupBuilder, blocked
from tests.integer_cases import RUNNING, U8, convolution, extremes, target_of, zero_point


def check(
    builder: GroupBuilder,
    output: Value,
    data: np.ndarray,
    want: np.ndarray,
    target: Target,
    folder: Path,
    point: int = 0,
) -> str:
    """Compare the group's kernel with what is wanted; the name of its template, the first where several compete."""
    layout = output.tensor_type.layout
    group = builder.group(output, layouts=[layout])
    found = templates_for(group, target)
    assert not isinstance(found, str), found
    template = found[0]

    def choose(points: list[Schedule]) -> Schedule:
        return points[point % len(points)]

    case = Case(builder, group, template.name, choose)
    compiled = Compiled([case.definition(target)], target, folder)
    (made,) = compiled.run(0, group, [builder.arrays.get(value.index, data) for value in group.body.inputs])
    np.testing.assert_array_equal(made, want)
    return template.name


@pytest.mark.parametrize("level", RUNNING)
@settings(derandomize=True, max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_convolutions(tmp_path_factory: pytest.TempPathFactory, level: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([1, 2, 2]))
    channels, out = (int(rng.choice([3, 4, 8, 13, 16, 24])) for _ in range(2))
    kernel = [int(rng.integers(1, 4)) for _ in range(rank)]
    dilations = [int(rng.integers(1, 3)) for _ in range(rank)]
    spatial = [int(rng.integers((k - 1) * d + 1, 14)) for k, d in zip(kernel, dilations, strict=True)]
    strides = [int(rng.integers(1, 3)) for _ in range(rank)]
    pads = [int(rng.integers(0, k + 1)) for k in kernel * 2]
    zero = int(rng.choice([0, 3, 128, 255]))
    data = extremes(rng, (2, channels, *spatial), [0, 255], np.uint8)
    weight = extremes(rng, (out, channels, *kernel), [-128, 127], np.int8)

    builder = GroupBuilder()
    block = int(rng.choice([1, 4, 8, 16]))
    source = builder.input(data.shape, blocked(block) if rank == 2 else PLAIN, U8)
    attributes = {"strides": tuple(strides), "pads": tuple(pads), "dilations": tuple(dilations)}
    result = builder.op("onnx.ConvInteger", source, builder.constant(weight), zero_point(builder, zero), **attributes)
    target = target_of(level)
    lanes = min(8, target.vector_bytes // 4)
    result.type = result.tensor_type.with_layout(blocked(int(rng.choice([1, lanes]))) if rank == 2 else PLAIN)
    want = convolution(data, weight, zero, strides=strides, pads=pads, dilations=dilations)
    folder = tmp_path_factory.mktemp("kernels")
    assert check(builder, result, data, want, target, folder, int(rng.integers(0, 20))) == "integer_conv"


@pytest.mark.parametrize("level", RUNNING)
@pytest.mark.parametrize(
    ("groups", "inputs", "outputs", "block"), [(6, 4, 4, 1), (3, 8, 8, 4), (2, 16, 48, 8), (10, 2, 4, 1), (4, 4, 8, 4)]
)
def test_groups(level: str, groups: int, inputs: int, outputs: int, block: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(groups)
    data = extremes(rng, (2, groups * inputs, 7, 9), [0, 255], np.uint8)
    weight = extremes(rng, (groups * outputs, inputs, 3, 2), [-128, 127], np.int8)
    builder = GroupBuilder()
    operands = builder.input(data.shape, blocked(block), U8), builder.constant(weight), zero_point(builder, 7)
    result = builder.op("onnx.ConvInteger", *operands, group=groups, pads=(1, 0, 1, 1), strides=(2, 1))
    want = convolution(data, weight, 7, strides=(2, 1), pads=(1, 0, 1, 1), dilations=(1, 1), groups=groups)
    for point in range(3):
        assert check(builder, result, data, want, target_of(level), tmp_path, point) == "integer_grouped_conv"


@pytest.mark.parametrize("level", RUNNING)
@pytest.mark.parametrize("limit", [64, 128])
def test_weights_of_seven_bits_take_the_shorter_way(level: str, limit: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = np.full((1, 16, 5, 5), 255, np.uint8)
    weight = np.where(rng.random((16, 16, 3, 3)) < 0.5, limit - (limit == 128), -limit).astype(np.int8)
    builder = GroupBuilder()
    source = builder.input(data.shape, blocked(8), U8)
    attributes: dict[str, Attribute] = {"pads": (1,) * 4, WEIGHT_LIMIT: limit}
    zero = zero_point(builder, 128)
    result = builder.op("onnx.ConvInteger", source, builder.constant(weight), zero, **attributes)
    want = convolution(data, weight, 128, strides=(1, 1), pads=(1,) * 4, dilations=(1, 1))
    check(builder, result, data, want, target_of(level), tmp_path)


@pytest.mark.parametrize("level", RUNNING)
@pytest.mark.parametrize("spread", [4, 28])
def test_sums_of_two_quads_in_16_bits_where_they_fit(level: str, spread: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(spread)
    data = extremes(rng, (1, 32, 4, 6), [255], np.uint8)
    weight = np.clip(np.rint(rng.normal(0, spread, (40, 32, 2, 2))), -64, 64).astype(np.int8)
    quads = weight.astype(int).reshape(40, 4, 2, 2, 2, 2, 2)
    most = np.maximum(quads, 0).sum(axis=(2, 4)).max()
    assert (most > 128) == (spread > 4)
    builder = GroupBuilder()
    source = builder.input(data.shape, blocked(8), U8)
    attributes: dict[str, Attribute] = {"pads": (0, 1, 1, 0), WEIGHT_LIMIT: 64}
    result = builder.op("onnx.ConvInteger", source, builder.constant(weight), zero_point(builder, 9), **attributes)
    result.type = result.tensor_type.with_layout(blocked(min(8, target_of(level).vector_bytes // 4)))
    want = convolution(data, weight, 9, strides=(1, 1), pads=(0, 1, 1, 0), dilations=(1, 1))
    check(builder, result, data, want, target_of(level), tmp_path)


@pytest.mark.parametrize("level", RUNNING)
@pytest.mark.parametrize(("lead", "rows", "depth", "columns"), [((), 1, 64, 40), ((2,), 7, 36, 100), ((), 5, 13, 19)])
def test_matrix_products(
    level: str, lead: tuple[int, ...], rows: int, depth: int, columns: int, tmp_path: Path
) -> None:
    zero = 255 if lead or depth % 4 else 0
    rng = np.random.default_rng(depth)
    data = extremes(rng, (*lead, rows, depth), [0, 255], np.uint8)
    weight = extremes(rng, (depth, columns), [-128, 127], np.int8)
    builder = GroupBuilder()
    source = builder.input(data.shape, dtype=U8)
    result = builder.op("onnx.MatMulInteger", source, builder.constant(weight), zero_point(builder, zero))
    want = (data.astype(np.int64) - zero) @ weight.astype(np.int64)
    assert check(builder, result, data, want, target_of(level), tmp_path) == "integer_gemm"


@pytest.mark.parametrize("level", RUNNING)
@pytest.mark.parametrize(("channels", "kernel", "stride", "zero"), [(16, 3, 1, 0), (24, 3, 2, 128), (12, 5, 1, 3)])
def test_depthwise(level: str, channels: int, kernel: int, stride: int, zero: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(kernel)
    data = extremes(rng, (1, channels, 9, 10), [0, 255], np.uint8)
    weight = extremes(rng, (channels, 1, kernel, kernel), [-128, 127], np.int8)
    builder = GroupBuilder()
    target = target_of(level)
    layout = blocked(min(8, target.vector_bytes // 4))
    source = builder.input(data.shape, layout, U8)
    pads = (kernel // 2,) * 4
    attributes: dict[str, Attribute] = {"group": channels, "pads": pads, "strides": (stride, stride)}
    result = builder.op("onnx.ConvInteger", source, builder.constant(weight), zero_point(builder, zero), **attributes)
    result.type = result.tensor_type.with_layout(layout)
    want = convolution(data, weight, zero, strides=(stride, stride), pads=pads, dilations=(1, 1), groups=channels)
    assert check(builder, result, data, want, target, tmp_path) == "integer_depthwise"


@pytest.mark.parametrize("level", RUNNING)
@settings(derandomize=True, max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_depthwise_windows(tmp_path_factory: pytest.TempPathFactory, level: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels, limit = int(rng.choice([8, 13, 24])), int(rng.choice([64, 128]))
    kernel = [int(rng.choice([1, 2, 3, 4, 7, 9])), int(rng.integers(1, 5))]
    dilations = [int(rng.integers(1, 3)) for _ in range(2)]
    spatial = [int(rng.integers((k - 1) * d + 1, 22)) for k, d in zip(kernel, dilations, strict=True)]
    strides = [int(rng.integers(1, 4)) for _ in range(2)]
    pads = [int(rng.integers(0, k + 2)) for k in kernel * 2]
    zero = int(rng.choice([0, 3, 128, 255]))
    data = extremes(rng, (2, channels, *spatial), [0, 255], np.uint8)
    weight = extremes(rng, (channels, 1, *kernel), [-128, 127], np.int8)
    if limit == 64:
        weight = np.clip(weight, -64, 64)

    builder = GroupBuilder()
    block = int(rng.choice([4, 8]))
    source = builder.input(data.shape, blocked(block), U8)
    attributes: dict[str, Attribute] = {
        "strides": tuple(strides), "pads": tuple(pads), "dilations": tuple(dilations), "group": channels,
        WEIGHT_LIMIT: limit,
    }  # fmt: skip
    result = builder.op("onnx.ConvInteger", source, builder.constant(weight), zero_point(builder, zero), **attributes)
    result.type = result.tensor_type.with_layout(blocked(block))
    want = convolution(data, weight, zero, strides=strides, pads=pads, dilations=dilations, groups=channels)
    folder, point = tmp_path_factory.mktemp("kernels"), int(rng.integers(0, 20))
    assert check(builder, result, data, want, target_of(level), folder, point) == "integer_depthwise"


@pytest.mark.parametrize(
    ("mcpu", "limit", "instruction"),
    [
        ("znver4", 128, "vpdpbusd"),
        ("alderlake", 128, "vpdpbusd"),
        ("x86-64-v3", 64, "vpmaddubsw"),
        ("x86-64-v3", 128, "vpmaddwd"),
    ],
)
def test_depthwise_sums_taps_in_dot_products(mcpu: str, limit: int, instruction: str) -> None:
    builder = GroupBuilder()
    source = builder.input((1, 16, 6, 6), blocked(8), U8)
    weight = builder.constant(np.zeros((16, 1, 3, 3), np.int8))
    attributes: dict[str, Attribute] = {"group": 16, "pads": (1,) * 4, WEIGHT_LIMIT: limit}
    result = builder.op("onnx.ConvInteger", source, weight, zero_point(builder, 0), **attributes)
    target = load("x86-64-v3")
    target = replace(target, llvm={**target.llvm, "mcpu": mcpu})
    definition = Case(builder, builder.group(result, layouts=[blocked(8)]), "integer_depthwise").definition(target)
    code = llvm_source({"kernel": definition.function}, target, "asm")
    assert instruction in code and "vpmulld" not in code


def test_an_epilogue_runs_on_the_sums(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    data = rng.integers(0, 256, (1, 16, 8, 8)).astype(np.uint8)
    other = rng.integers(0, 256, (1, 24, 8, 8)).astype(np.uint8)
    weight = rng.integers(-127, 128, (24, 16, 1, 1)).astype(np.int8)
    scale = rng.uniform(1e-4, 2e-3, (1, 24, 1, 1)).astype(np.float32)
    builder = GroupBuilder()
    source, residual = builder.input(data.shape, blocked(8), U8), builder.input(other.shape, blocked(8), U8)
    sums = builder.op("onnx.ConvInteger", source, builder.constant(weight), zero_point(builder, 7))
    real = builder.op("onnx.Mul", builder.op("onnx.Cast", sums, to=1), builder.constant(scale))
    real = builder.op("onnx.Add", real, builder.op("onnx.DequantizeLinear", residual, builder.scalar(0.25)))
    code = builder.op("onnx.QuantizeLinear", builder.op("onnx.Relu", real), builder.scalar(1.0), zero_point(builder, 2))
    group = builder.group(code, layouts=[blocked(8)])
    target = load("cpu")
    compiled = Compiled([Case(builder, group, "integer_conv").definition(target)], target, tmp_path)
    given = {0: data, 1: other, **builder.arrays}
    (made,) = compiled.run(0, group, [given[value.index] for value in group.body.inputs])
    exact = np.einsum("nchw,oc->nohw", data.astype(np.int64) - 7, weight[:, :, 0, 0].astype(np.int64))
    real_values = exact.astype(np.float32) * scale + other.astype(np.float32) * np.float32(0.25)
    want = np.clip(np.rint(np.maximum(real_values, 0)) + 2, 0, 255).astype(np.uint8)
    assert np.mean(made != want) < 1e-3 and np.abs(made.astype(int) - want).max() <= 1  # ties, fused multiply-adds


def test_gathered_data_comes_from_a_prologue(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    image = rng.uniform(-1, 3, (1, 3, 12, 20)).astype(np.float32)
    weight = rng.integers(-127, 128, (16, 3, 3, 3)).astype(np.int8)
    builder = GroupBuilder()
    source = builder.input(image.shape)
    code = builder.op("onnx.QuantizeLinear", source, builder.scalar(0.0625), zero_point(builder, 16))
    sums = builder.op(
        "onnx.ConvInteger", code, builder.constant(weight), zero_point(builder, 16), strides=(2, 2), pads=(1,) * 4
    )
    data = np.clip(np.rint(image / np.float32(0.0625)) + 16, 0, 255).astype(np.uint8)
    want = convolution(data, weight, 16, strides=(2, 2), pads=(1,) * 4, dilations=(1, 1))
    sums.type = sums.tensor_type.with_layout(blocked(8))
    assert check(builder, sums, image, want, load("cpu"), tmp_path) == "integer_conv"


def test_the_instructions_of_other_machines() -> None:
    builder = GroupBuilder()
    source = builder.input((1, 16, 6, 6), blocked(4), U8)
    weight = builder.constant(np.ones((16, 16, 3, 3), np.int8))
    sums = builder.op("onnx.ConvInteger", source, weight, zero_point(builder, 3), pads=(1,) * 4)
    group = builder.group(sums, layouts=[blocked(4)])
    template = Template.registry["integer_conv"]
    arm = load("aarch64")
    for feature, expected in (("+dotprod", "sdot"), ("+i8mm", "usdot"), ("+neon", "smlal")):
        target = replace(arm, llvm={**arm.llvm, "mattr": ["+neon", feature]})
        assert template.refuses(group, target) is None
        function = template.build(group, template.space(group, target)[0], target).function
        text = llvm_source({"kernel": function}, target, "asm")
        assert f"\t{expected}" in text or expected == "smlal", expected


def test_the_choice_of_a_dot_product() -> None:
    v3 = target_of("x86-64-v3")
    assert kinds_for(v3, (8,), 64)[0].name == "vpmaddubsw"
    assert kinds_for(v3, (8,), 65)[0].name == "vpmaddwd"
    vnni = replace(v3, llvm={**v3.llvm, "mattr": ["+avxvnni"]})
    assert kinds_for(vnni, (8,), 128)[0].name == "vpdpbusd-vex"
    assert [kind.name for kind in kinds_for(load("cortex-m7"), (1,), 128)] == [KINDS[-1].name]


def test_what_is_refused() -> None:
    builder = GroupBuilder()
    source = builder.input((1, 16, 6, 6), blocked(8), dtypes.BY_NAME["i8"])
    sums = builder.op("onnx.ConvInteger", source, builder.constant(np.ones((16, 16, 1, 1), np.int8)))
    template = Template.registry["integer_conv"]
    assert template.refuses(builder.group(sums), load("cpu")) == "i8 data and i8 weights"
    builder = GroupBuilder()
    zero = builder.graph.constant(np.array(1, np.int8), "zero", before=None)
    operands = builder.input((1, 16, 6, 6), blocked(8), U8), builder.constant(np.ones((16, 16, 1, 1), np.int8))
    sums = builder.op("onnx.ConvInteger", *operands, None, zero)
    assert template.refuses(builder.group(sums), load("cpu")) == "the weights have a zero point"
