"""What a model's kernels take in their places: weights that the caches do not keep come from memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graph_kit import Builder, matrix_product

from optc.costmodel.analytical import AnalyticalCostModel, least_seconds
from optc.costmodel.interface import Candidate, Estimate
from optc.costmodel.residency import KEPT, in_place, predict_in_place
from optc.targets import load
from optc.targets.target import Cache

MEGABYTE = 1 << 20
TARGET = replace(load("x86-64-v3"), caches=(Cache(8 * MEGABYTE, True, 1e11),), memory_bandwidth=1e10)
QUICK = Estimate(1e-6, 5e-7, 2e-6, 0, 0, "roofline")


def convolution(kernel: tuple[int, int], stride: int) -> Candidate:
    build = Builder(x="1,16,16,16")
    weight = build.constant(np.zeros((16, 16, *kernel)), np.float32)
    build("Conv", build.input("x"), weight, kernel_shape=kernel, strides=(stride, stride))
    (operation,) = list(build.graph)[-1:]
    return Candidate.of_operations([operation], operation.results)


def test_weights_that_fit_are_kept() -> None:
    assert KEPT * 8 >= 3
    assert in_place([matrix_product(1), matrix_product(2)], [QUICK, QUICK], TARGET) == [QUICK, QUICK]


def test_weights_of_twice_what_is_kept_all_come_from_memory() -> None:
    small, large = in_place([matrix_product(1), matrix_product(9)], [QUICK, QUICK], TARGET)
    assert small.seconds == pytest.approx(MEGABYTE / 1e10) and large.seconds == pytest.approx(9 * MEGABYTE / 1e10)
    assert small.low <= small.seconds <= small.high and small.basis == "roofline"
    slow = replace(QUICK, seconds=1.0, high=2.0)
    longer = 7 * MEGABYTE * (1 / 1e10 - 1 / 1e11)
    first, second = in_place([matrix_product(7), matrix_product(2)], [slow, slow], TARGET)
    assert first.seconds == pytest.approx(1.0 + longer) and second.seconds == pytest.approx(1.0 + 2 / 7 * longer)
    stored, _ = in_place([matrix_product(1), matrix_product(2)], [slow, slow], TARGET, [7 * MEGABYTE, 2 * MEGABYTE])
    assert stored.seconds == first.seconds
    assert in_place([matrix_product(9)], [slow], TARGET) == [slow]  # alone it came from memory as well


def test_in_between_a_share_does() -> None:
    kept = KEPT * 8 * MEGABYTE
    values = 4 * (1024 + 6 * 256)
    (estimate,) = in_place([matrix_product(6)], [QUICK], TARGET)
    share = (6 * MEGABYTE + values) / kept - 1
    assert 0 < share < 1 and estimate.seconds == pytest.approx(share * 6 * MEGABYTE / 1e10)


def test_a_model_of_nothing_and_a_target_without_figures() -> None:
    assert in_place([], [], TARGET) == []
    assert in_place([matrix_product(9)], [QUICK], replace(TARGET, memory_bandwidth=0.0)) == [QUICK]


def test_the_figures_of_the_cost_model_count() -> None:
    class Knowing(AnalyticalCostModel):
        def figures(self, target: object) -> object:
            return replace(TARGET, memory_bandwidth=1e9)

    (estimate,) = predict_in_place(Knowing(), [matrix_product(9)], TARGET)
    assert estimate.seconds == pytest.approx(9 * MEGABYTE / 1e9)


def test_nothing_computes_faster_than_the_machine_except_by_fewer_multiplications() -> None:
    peak = TARGET.peak_flops["f32"]
    pointwise, strided, winograd = convolution((1, 1), 1), convolution((3, 3), 2), convolution((3, 3), 1)
    assert least_seconds(pointwise, TARGET) == pytest.approx(2 * 16 * 16 * 16 * 16 / peak)
    assert least_seconds(strided, TARGET) > 0 and least_seconds(convolution((5, 1), 1), TARGET) > 0
    assert least_seconds(winograd, TARGET) == 0
