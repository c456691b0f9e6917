"""Winograd convolutions: against exact sums, against onnxruntime, and their error bound."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contraction_cases import Case, Compiled, GroupBuilder, blocked, check, random_arrays

from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.math.winograd import (
    PAIRS,
    amplification,
    data_program,
    error_bound,
    result_program,
    transform_weights,
    weight_matrix,
)
from optc.backends.tvm.template import Template, templates_for
from optc.backends.tvm.templates.winograd import LARGEST_ERROR
from optc.ir import dtypes
from optc.targets import Target, load

RANDOM = np.random.default_rng(11)


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


def winograd_case(
    channels: int,
    filters: int,
    size: tuple[int, int],
    *,
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    batch: int = 1,
    block_in: int = 8,
    block_out: int = 8,
    epilogue: str = "none",
    prologue: bool = False,
    bias: bool = True,
    m: int | None = None,
    point: int = 0,
) -> Case:
    builder = GroupBuilder()
    data = builder.input((batch, channels, *size), blocked(block_in))
    if prologue:
        data = builder.op("onnx.Relu", data)
    weight = builder.constant(RANDOM.standard_normal((filters, channels, 3, 3)).astype(np.float32))
    added = builder.constant(RANDOM.standard_normal(filters).astype(np.float32)) if bias else None
    result = builder.op("onnx.Conv", data, weight, added, pads=pads)
    if epilogue == "residual":
        result = builder.op(
            "onnx.Relu", builder.op("onnx.Add", result, builder.input(result.shape, blocked(block_out)))
        )
    elif epilogue == "silu":
        result = builder.op("onnx.Mul", result, builder.op("onnx.Sigmoid", result))
    elif epilogue == "gate":
        result = builder.op("onnx.Mul", result, builder.input((batch, filters, 1, 1), blocked(block_out)))
    elif epilogue == "clip":
        result = builder.op("onnx.Clip", result, builder.scalar(-0.5), builder.scalar(0.5))
    group = builder.group(result, layouts=[blocked(block_out)])

    def chosen(points: Sequence) -> tuple:
        points = [each for each in points if m is None or dict(each)["m"] == m]
        return points[point % len(points)]

    return Case(builder, group, "winograd", chosen)


def exact(data: np.ndarray, weight: np.ndarray, pads: Sequence[int]) -> np.ndarray:
    """The convolution in float64."""
    top, left, bottom, right = pads
    padded = np.pad(data.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight.astype(np.float64), optimize=True)


@pytest.mark.parametrize("m", PAIRS)
def test_transforms_compute_the_convolution(m: int) -> None:
    data, weights = RANDOM.standard_normal(m + 2), RANDOM.standard_normal(3)
    products = (weight_matrix(m) @ weights) * (data_program(m).matrix() @ data)
    expected = [data[i : i + 3] @ weights for i in range(m)]
    np.testing.assert_allclose(result_program(m).matrix() @ products, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("m", PAIRS)
def test_transforms_are_exact_in_single_precision(m: int) -> None:
    for matrix in (data_program(m).matrix(), result_program(m).matrix()):
        np.testing.assert_array_equal(matrix.astype(np.float32).astype(np.float64), matrix)


@pytest.mark.parametrize("m", PAIRS)
def test_amplification_is_that_of_random_data(m: int) -> None:
    """Noise of a relative size on the products of random data grows as stated, on the worst of the outputs."""
    a, b = result_program(m).matrix(), data_program(m).matrix()
    data = RANDOM.standard_normal((4000, m + 2, m + 2))
    weights = RANDOM.standard_normal((4000, 3, 3))
    products = (b @ data @ b.T) * transform_weights(weights, m).reshape(-1, m + 2, m + 2)
    error = a @ (products * RANDOM.standard_normal(products.shape)) @ a.T
    found = np.sqrt((error**2).mean(axis=0)).max() / 3.0  # the outputs are sums of nine products of variance 1
    assert found == pytest.approx(amplification(m), rel=0.1)


def test_errors_stay_within_the_bound(host: Target, tmp_path: Path) -> None:
    shapes = [
        ((64, 32, (9, 11)), (1, 1, 1, 1)),
        ((128, 16, (7, 7)), (1, 1, 1, 1)),
        ((256, 16, (14, 14)), (0, 2, 1, 0)),
        ((512, 16, (7, 7)), (1, 1, 1, 1)),
    ]
    cases = [winograd_case(*shape, pads=pads, bias=False, m=m) for shape, pads in shapes for m in PAIRS]
    compiled = Compiled([case.definition(host) for case in cases], host, tmp_path)
    for number, case in enumerate(cases):
        (_, pads), m = shapes[number // len(PAIRS)], list(PAIRS)[number % len(PAIRS)]
        data, weight = random_arrays(case, number)
        (found,) = compiled.run(number, case.group, [data, weight])
        expected = exact(data, weight, pads)
        error = np.abs(found - expected).max() / np.sqrt((expected**2).mean())
        bound = error_bound(m, data.shape[1])
        assert bound / 50 < error < bound < LARGEST_ERROR


def test_any_geometry(host: Target, tmp_path: Path) -> None:
    drawn = random.Random(3)
    cases = [
        winograd_case(
            drawn.choice((8, 20, 24, 32)),
            drawn.choice((8, 13, 24, 40, 48)),
            (drawn.randint(3, 17), drawn.randint(3, 17)),
            pads=tuple(drawn.choice((0, 1, 1, 2)) for _ in range(4)),  # type: ignore[arg-type]
            batch=drawn.choice((1, 1, 2)),
            block_in=drawn.choice((1, 8, 16)),
            block_out=drawn.choice((1, 8, 16)),
            epilogue=drawn.choice(("none", "residual", "silu", "gate", "clip")),
            prologue=drawn.random() < 0.3,
            point=drawn.randrange(1000),
        )
        for _ in range(14)
    ]
    check(cases, host, tmp_path)


def test_results_do_not_depend_on_the_number_of_threads(host: Target, tmp_path: Path) -> None:
    """With many blocks of tiles, which the threads share, and with one, whose panels they share."""
    eager = replace(host, cores=3, parallel_seconds=0.0)
    many = winograd_case(16, 16, (20, 20), m=2)
    many.choose = lambda points: min(points, key=lambda point: dict(point)["block"])
    one = winograd_case(16, 80, (7, 7), m=4)
    one.choose = lambda points: max(points, key=lambda point: dict(point)["block"])
    results = []
    for threads in (1, 2, 5):
        compiled = Compiled([case.definition(eager) for case in (many, one)], eager, tmp_path, threads)
        results.append([compiled.run(i, case.group, random_arrays(case, i))[0] for i, case in enumerate((many, one))])
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(found, expected)
    check([many, one], eager, tmp_path, threads=3)


@pytest.mark.parametrize("name", ["x86-64-v3", "aarch64", "cortex-m7"])
def test_other_targets_get_tiles_that_fit(name: str) -> None:
    target, case = load(name), winograd_case(64, 64, (28, 28))
    template = Template.registry["winograd"]
    assert template.refuses(case.group, target) is None
    for point in template.space(case.group, target):
        columns, vectors = (dict(point)[knob] for knob in ("columns", "vectors"))
        assert columns == 1 or columns * vectors + vectors + 1 <= max(8, target.vector_registers)
    case.definition(target)


def refusal(target: Target, channels: int = 16, kernel: int = 3, dtype: dtypes.DType = dtypes.FLOAT32, **attributes):
    builder = GroupBuilder()
    data = builder.input((1, channels, 12, 12), dtype=dtype)
    weight = builder.constant(np.ones((16, channels, kernel, kernel), dtype.numpy))
    group = builder.group(builder.op("onnx.Conv", data, weight, **attributes))
    return Template.registry["winograd"].refuses(group, target)


def test_refusals(host: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(host) is None
    assert refusal(host, kernel=5) == "the window is not 3 x 3"
    assert refusal(host, strides=(2, 2)) == "the window has a stride or a dilation"
    assert refusal(host, dilations=(1, 2)) == "the window has a stride or a dilation"
    assert refusal(host, dtype=dtypes.FLOAT64) == "elements of type f64"
    assert refusal(host, channels=4) == "too few channels"
    monkeypatch.setattr("optc.backends.tvm.templates.winograd.LARGEST_ERROR", 1e-6)
    assert refusal(host) == "the error may exceed 1e-06"


def test_winograd_competes_with_direct_convolution(host: Target) -> None:
    found = templates_for(winograd_case(64, 64, (28, 28)).group, host)
    assert [template.name for template in found if isinstance(template, Template)] == ["conv2d", "winograd"]
