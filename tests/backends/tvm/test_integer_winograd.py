"""Winograd convolutions in integers: sums equal to those of direct convolutions to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.codegen import llvm_source
from optc.backends.tvm.math.winograd_integers import (
    INTEGER_PAIRS,
    division,
    integer_data_program,
    integer_result_program,
    integer_weight_program,
    largest_result,
)
from optc.backends.tvm.template import Schedule, Template, templates_for
from optc.backends.tvm.templates.integer_winograd import IntegerWinograd
from optc.ir import dtypes
from optc.ir.core import Attribute
from optc.ops.hints import WEIGHT_SUM, weight_hints
from optc.targets import Target, load
from tests.contraction_cases import Case, Compiled, GroupBuilder, blocked
from tests.integer_cases import RUNNING, U8, convolution, extremes, target_of, zero_point

NAME = "integer_winograd"
ONES = (1, 1, 1, 1)


def integer_case(
    data: np.ndarray,
    weight: np.ndarray,
    *,
    zero: int = 0,
    pads: tuple[int, int, int, int] = ONES,
    block_in: int = 8,
    block_out: int = 8,
    m: int | None = None,
    point: int = 0,
) -> Case:
    builder = GroupBuilder()
    source = builder.input(data.shape, blocked(block_in), U8)
    hints = weight_hints(weight)
    sums = builder.op(
        "onnx.ConvInteger", source, builder.constant(weight), zero_point(builder, zero), pads=pads, **hints
    )
    group = builder.group(sums, layouts=[blocked(block_out)])

    def chosen(points: list[Schedule]) -> Schedule:
        points = [each for each in points if m is None or dict(each)["m"] == m]
        return points[point % len(points)]

    return Case(builder, group, NAME, chosen)


def sums_of(case: Case, data: np.ndarray, target: Target, folder: Path, threads: int = 1) -> np.ndarray:
    compiled = Compiled([case.definition(target)], target, folder, threads)
    (made,) = compiled.run(0, case.group, [case.builder.arrays.get(v.index, data) for v in case.group.body.inputs])
    return made


def direct(data: np.ndarray, weight: np.ndarray, zero: int = 0, pads: Sequence[int] = ONES) -> np.ndarray:
    return convolution(data, weight, zero, strides=(1, 1), pads=pads, dilations=(1, 1))


@pytest.mark.parametrize("m", INTEGER_PAIRS)
@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_transforms_compute_the_convolution_modulo_a_power_of_two(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, channels = m + 2, int(rng.choice([1, 7, 110]))
    data = extremes(rng, (channels, n, n), [0, 255], np.uint8).astype(np.int64) - int(rng.choice([0, 128, 255]))
    weight = extremes(rng, (channels, 3, 3), [-128, 127], np.int8)
    before, (program, multiples) = integer_data_program(m).matrix().astype(np.int64), integer_result_program(m)
    after = program.matrix().astype(np.int64)
    taps = before @ data @ before.T
    assert np.abs(taps).max() < 1 << 15
    between = integer_weight_program(m).matrix().astype(np.int64)
    factors = between @ weight @ between.T
    assert np.abs(factors).max() < 1 << 15
    products = (taps * factors).sum(axis=0).astype(np.int32)
    made = (after @ products @ after.T).astype(np.int32)
    expected = np.lib.stride_tricks.sliding_window_view(data, (3, 3), axis=(1, 2))
    for i in range(m):
        for j in range(m):
            factor, shift = division(multiples[i] * multiples[j])
            found = np.int64(int(made[i, j]) * factor).astype(np.int32) >> shift
            assert found == (expected[:, i, j] * weight).sum()


def test_how_large_exact_results_may_be() -> None:
    assert {m: integer_result_program(m)[1] for m in INTEGER_PAIRS} == {2: (2, 2), 4: (24, 12, 6, 6)}
    assert {m: largest_result(m) for m in INTEGER_PAIRS} == {2: (1 << 29) - 1, 4: (1 << 25) - 1}
    assert division(1) == (1, 0) and division(4) == (1, 2)
    for number in (24, 36, 576):
        factor, shift = division(number)
        assert number * factor % (1 << 32) == 1 << shift


@pytest.mark.parametrize("level", RUNNING)
@settings(derandomize=True, max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_any_geometry(tmp_path_factory: pytest.TempPathFactory, level: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels, filters = int(rng.choice([8, 13, 20, 32, 48])), int(rng.choice([8, 13, 24, 40, 64]))
    pads = tuple(int(pad) for pad in rng.choice([0, 1, 1, 2], 4))
    size = (int(rng.integers(3, 15)), int(rng.integers(3, 15)))
    data = extremes(rng, (int(rng.choice([1, 2])), channels, *size), [0, 255], np.uint8)
    weight = extremes(rng, (filters, channels, 3, 3), [-128, 127], np.int8)
    zero, target = int(rng.choice([0, 3, 128, 255])), target_of(level)
    lanes = min(8, target.vector_bytes // 4)
    case = integer_case(
        data,
        weight,
        zero=zero,
        pads=pads,  # type: ignore[arg-type]
        block_in=int(rng.choice([1, 4, 8, 16])),
        block_out=int(rng.choice([1, lanes])),
        point=int(rng.integers(0, 1000)),
    )
    made = sums_of(case, data, target, tmp_path_factory.mktemp("kernels"))
    np.testing.assert_array_equal(made, direct(data, weight, zero, pads))


@pytest.mark.parametrize("level", ["host", "x86-64-v3"])
def test_sums_of_products_that_overflow(level: str, tmp_path: Path) -> None:
    """The products at a point exceed 32 bits, and the largest result reaches what is exact."""
    rows = integer_data_program(4).matrix()
    data = np.full((1, 112, 8, 4), 255, np.uint8)
    data[:, :, :4] = np.where(np.outer(rows[1, 1:5], rows[1, 1:5]) > 0, 255, 0)
    weight = np.full((16, 112, 3, 3), 127, np.int8)
    weight[8:] = -127
    want = direct(data, weight)
    assert 127 * 9 * 112 * (2 * 2 + 8 * 8) * 255 > 1 << 31 and np.abs(want).max() > largest_result(4) * 0.97
    case = integer_case(data, weight, m=4)
    assert case.group.anchor is not None and WEIGHT_SUM not in case.group.anchor.attributes
    np.testing.assert_array_equal(sums_of(case, data, target_of(level), tmp_path), want)


def test_results_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    data = rng.integers(0, 256, (1, 16, 20, 20)).astype(np.uint8)
    weight = rng.integers(-128, 128, (80, 16, 3, 3)).astype(np.int8)
    want = direct(data, weight, 7)
    eager = replace(load("cpu"), cores=3, parallel_seconds=0.0)
    for most in (min, max):  # blocks of tiles are shared, or the panels of one
        case = integer_case(data, weight, zero=7, m=4)
        case.choose = lambda points, most=most: most(points, key=lambda point: dict(point)["block"])
        for threads in (1, 2, 5):
            np.testing.assert_array_equal(sums_of(case, data, eager, tmp_path, threads), want)


@pytest.mark.parametrize(
    ("mcpu", "instruction"), [("znver4", "vpdpwssd"), ("alderlake", "vpdpwssd"), ("x86-64-v3", "vpmaddwd")]
)
def test_the_instruction(mcpu: str, instruction: str) -> None:
    data, weight = np.zeros((1, 16, 8, 8), np.uint8), np.zeros((16, 16, 3, 3), np.int8)
    target = load("x86-64-v3")
    target = replace(target, llvm={**target.llvm, "mcpu": mcpu})
    code = llvm_source({"kernel": integer_case(data, weight).definition(target).function}, target, "asm")
    assert instruction in code


def refusal(
    target: Target, channels: int = 16, kernel: int = 3, value: int = 1, block: int = 1, **attributes: Attribute
) -> str | None:
    builder = GroupBuilder()
    weight = np.full((16, channels, kernel, kernel), value, np.int8)
    data = builder.input((1, channels, 12, 12), blocked(block), U8)
    operands = (data, builder.constant(weight), zero_point(builder, 3))
    hints = weight_hints(weight)
    return Template.registry[NAME].refuses(
        builder.group(builder.op("onnx.ConvInteger", *operands, **attributes, **hints)), target
    )


def test_refusals() -> None:
    x86 = load("x86-64-v3")
    assert refusal(x86) is None
    assert refusal(x86, kernel=5) == "the window is not 3 x 3"
    assert refusal(x86, strides=(2, 2)) == "the window has a stride or a dilation"
    assert refusal(x86, channels=4) == "too few channels"
    assert refusal(x86, block=3) == "the channels of the data do not lie in pairs"
    assert refusal(load("aarch64")) == "no instruction multiplies pairs of 16-bit numbers"
    builder = GroupBuilder()
    data = builder.input((1, 16, 8, 8), dtype=dtypes.FLOAT32)
    product = builder.op("onnx.Conv", data, builder.constant(np.ones((16, 16, 3, 3), np.float32)))
    assert Template.registry[NAME].refuses(builder.group(product), x86) == "not a convolution of integers"


def test_large_tiles_where_the_weights_are_known_to_be_small() -> None:
    template = Template.registry[NAME]
    assert isinstance(template, IntegerWinograd)
    data = np.zeros((1, 512, 8, 8), np.uint8)
    for value, variants in ((28, [2, 4]), (-29, [2])):  # 28 * 9 * 512 = 129024 is below 2^17
        weight = np.full((8, 512, 3, 3), value, np.int8)
        assert template.variants(integer_case(data, weight).group) == variants
        assert (WEIGHT_SUM in weight_hints(weight)) == (len(variants) == 2)


def test_it_competes_with_the_direct_convolution() -> None:
    data, weight = np.zeros((1, 64, 28, 28), np.uint8), np.zeros((64, 64, 3, 3), np.int8)
    found = templates_for(integer_case(data, weight).group, load("x86-64-v3"))
    assert [template.name for template in found if isinstance(template, Template)] == ["integer_conv", NAME]
