"""The learned cost model: what it adds to the roofline, when it falls back, and what it says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from graph_kit import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate, SchedulePoint
from optc.costmodel.kernels.familiarity import Familiarity
from optc.costmodel.kernels.features import (
    TARGET_FEATURES,
    WORKLOAD_FEATURES,
    ScheduleVocabulary,
    WorkloadFeatures,
    target_vector,
)
from optc.costmodel.kernels.intervals import Intervals
from optc.costmodel.kernels.labels import anchor_labels, types_in, types_of
from optc.costmodel.kernels.learned import LearnedCostModel
from optc.costmodel.kernels.machine import machine_class, target_from_json, target_json
from optc.costmodel.kernels.predictor import Blend, KernelPredictor
from optc.costmodel.kernels.schedules import LearnedSchedules
from optc.costmodel.kernels.trees import ObliviousTrees
from optc.targets import load
from optc.targets.target import Target

TARGET = load("x86-64-v3")
VOCABULARY = ScheduleVocabulary(("conv2d",), ("columns", "vectors"))
WIDTH = len(WORKLOAD_FEATURES) + len(TARGET_FEATURES)


KNOWN = [f"{kind}-{data}{result}---" for kind in ("contraction", "depthwise") for data in "d-" for result in "r-"]


def constant(value: float, column: int = 0, step: float = 0.0) -> Blend:
    """`value`, plus `step` where the column is positive."""
    trees = ObliviousTrees(
        np.array([[column]], np.int32), np.zeros((1, 1), np.float32), np.array([[0.0, step]], np.float32), value
    )
    return Blend((trees,))


def predictor(limit: float = math.inf, ranking: Blend | None = None) -> KernelPredictor:
    return KernelPredictor(
        group=constant(math.log(0.5)),
        point=constant(math.log(0.5)),
        ranking=ranking or constant(math.log(0.5)),
        vocabulary=VOCABULARY,
        group_intervals=Intervals({"*": (math.log(0.8), math.log(1.25))}),
        point_intervals=Intervals({"*": (math.log(0.8), math.log(1.25))}),
        familiarity=Familiarity(
            np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32), np.zeros((1, WIDTH), np.float32), limit
        ),
        usual={"*": math.log(0.7), "contraction": math.log(0.6)},
        disagreement=0.1,
        patterns={pattern: 9 for pattern in KNOWN},
        machine=machine_class(TARGET),
        reference=TARGET,
        rows=42,
    )


def convolution(channels: int = 16, group: int = 1) -> Candidate:
    build = Builder(x=f"1,{channels},14,14")
    weight = build.constant(np.ones((channels, channels // group, 3, 3)), np.float32)
    build("Conv", build.input("x"), weight, pads=(1, 1, 1, 1), group=group)
    return Candidate.of_operations(list(build.graph)[-1:])


def test_the_prediction_scales_the_roofline() -> None:
    candidate = convolution()
    (roofline,) = AnalyticalCostModel().predict([candidate], TARGET)
    (estimate,) = LearnedCostModel(predictor()).predict([candidate], TARGET)
    assert estimate.seconds == pytest.approx(0.5 * roofline.seconds)
    assert (estimate.low, estimate.high) == pytest.approx((0.4 * roofline.seconds, 0.625 * roofline.seconds))
    assert estimate.basis == "learned: 42 kernels"
    assert (estimate.flops, estimate.bytes) == (roofline.flops, roofline.bytes)


def test_what_the_parts_disagree_about_is_taken_to_be_slower() -> None:
    candidate = convolution()
    both = Blend((*constant(math.log(0.25)).parts, *constant(math.log(1.0)).parts))
    (agreed,) = LearnedCostModel(predictor()).predict([candidate], TARGET)
    (disputed,) = LearnedCostModel(replace(predictor(), group=both)).predict([candidate], TARGET)
    spread = math.log(4.0) / 2
    assert disputed.seconds / agreed.seconds == pytest.approx(math.exp(2.0 * (spread - 0.1)))


def test_several_threads_divide_as_the_roofline_does() -> None:
    candidate = convolution(128)
    one, four = (AnalyticalCostModel(threads).predict([candidate], TARGET)[0].seconds for threads in (1, 4))
    alone, together = (LearnedCostModel(predictor(), n).predict([candidate], TARGET)[0].seconds for n in (1, 4))
    assert together / alone == pytest.approx(four / one) and four < one


def test_what_is_unlike_the_measured_kernels_falls_back_and_says_so() -> None:
    candidate = convolution()
    (roofline,) = AnalyticalCostModel().predict([candidate], TARGET)
    (estimate,) = LearnedCostModel(predictor(limit=0.0)).predict([candidate], TARGET)
    assert estimate.basis == "roofline, unlike what was measured"
    assert estimate.seconds == pytest.approx(roofline.seconds)
    assert estimate.high / estimate.low == pytest.approx(4.0)
    slower = replace(predictor(limit=0.0), usual={"*": 0.0, "contraction": math.log(3.0)})
    (usual,) = LearnedCostModel(slower).predict([candidate], TARGET)
    assert usual.seconds == pytest.approx(3.0 * roofline.seconds)


def test_a_rare_combination_is_unlike_what_was_measured() -> None:
    rare = replace(predictor(), patterns={pattern: 7 for pattern in KNOWN})
    (estimate,) = LearnedCostModel(rare).predict([convolution()], TARGET)
    assert estimate.basis == "roofline, unlike what was measured"


def test_kernels_of_types_that_were_not_measured_fall_back() -> None:
    build = Builder("i8", x="1,64,14,14")
    weight = build.constant(np.ones((64, 64, 1, 1)), np.int8)
    build("ConvInteger", build.input("x"), weight, kernel_shape=(1, 1))
    candidate = Candidate.of_operations(list(build.graph)[-1:])
    (vector,) = WorkloadFeatures(TARGET).vectors([candidate])
    assert np.isfinite(vector).all() and types_of(candidate) == {"i8", "i32"}
    (roofline,) = AnalyticalCostModel().predict([candidate], TARGET)
    (estimate,) = LearnedCostModel(predictor()).predict([candidate], TARGET)
    assert estimate.basis == "roofline, unlike what was measured" and estimate.seconds >= roofline.seconds
    assert LearnedSchedules(predictor()).predict(candidate, points(7, 8), TARGET) == pytest.approx([7e-5, 8e-5])
    knowing = replace(predictor(), types=("f32", "i8", "i32"))
    (learned,) = LearnedCostModel(knowing).predict([candidate], TARGET)
    assert learned.basis == "learned: 42 kernels"


def test_types_are_found_in_texts() -> None:
    text = "graph @g(%0: tensor<1x8x4x4xf32, block(1, 8)>, %1: tensor<i64>) -> () { %2 = a.B(%0) : tensor<2xui8> }"
    assert types_in(text) == {"f32", "i64", "ui8"}


def test_another_machine_gets_wider_intervals() -> None:
    candidate = convolution()
    other = load("aarch64")
    (here,) = LearnedCostModel(predictor()).predict([candidate], TARGET)
    (there,) = LearnedCostModel(predictor()).predict([candidate], other)
    assert not predictor().fits(other) and there.high / there.low > 3 * here.high / here.low


def test_figures_that_were_not_measured_are_replaced() -> None:
    slower = replace(TARGET, peak_flops={"f32": 1e9}, cores=8)
    assert predictor().figures(slower).peak_flops == TARGET.peak_flops
    assert predictor().figures(slower).cores == 8
    measured = replace(slower, figures={"memory_bandwidth": "measured on this machine"})
    assert predictor().figures(measured) is measured


def test_energy_comes_from_the_targets_coefficients() -> None:
    (estimate,) = LearnedCostModel(predictor()).predict([convolution()], TARGET)
    table = TARGET.energy
    expected = estimate.flops * table["flop"] + estimate.bytes * table["byte"] + estimate.seconds * table["watts"]
    assert estimate.joules == pytest.approx(expected)
    (unknown,) = LearnedCostModel(predictor()).predict([convolution()], replace(TARGET, energy={}))
    assert unknown.joules is None


def points(*columns: int, template: str = "conv2d") -> list[SchedulePoint]:
    return [SchedulePoint(template, (("columns", each), ("vectors", 1)), 1e-5 * each) for each in columns]


def test_schedules_are_ranked_by_the_predictor() -> None:
    column = WIDTH + VOCABULARY.names.index("log_columns_waste")
    slow_when_wasteful = constant(0.0, column, math.log(2.0))
    judge = LearnedSchedules(predictor(ranking=slow_when_wasteful))
    seconds = judge.predict(convolution(), points(7, 8, 14), TARGET)
    assert seconds[0] == seconds[2] < seconds[1]
    assert seconds[1] / seconds[0] == pytest.approx(2.0)


def test_unknown_templates_keep_their_estimates_in_proportion() -> None:
    judge = LearnedSchedules(predictor())
    seconds = judge.predict(convolution(), [*points(7), *points(14, template="other")], TARGET)
    assert seconds[1] == pytest.approx(2.0 * seconds[0])
    unfamiliar = LearnedSchedules(predictor(limit=0.0)).predict(convolution(), points(7, 8), TARGET)
    assert unfamiliar == pytest.approx([7e-5, 8e-5])


def test_a_predictor_comes_back_from_its_arrays_and_details() -> None:
    from pathlib import Path

    from optc.costmodel.predictors import Card

    class Stored(Card):
        def arrays(self) -> dict[str, np.ndarray]:
            return predictor(limit=9.0).arrays()

    fields = ("name", "kernels", "set", (), "", "", {}, "", "", 0, {})
    card = Stored(*fields, details=predictor(limit=9.0).details(), folder=Path("x"))
    again = KernelPredictor.of_card(card)
    first, second = (LearnedCostModel(each).predict([convolution()], TARGET) for each in (again, predictor(limit=9.0)))
    assert first == second and again.reference.peak_flops == TARGET.peak_flops


@settings(derandomize=True, max_examples=15, deadline=None)
@given(channels=st.sampled_from([8, 16, 32, 64]), depthwise=st.booleans())
def test_features_have_names_and_are_finite(channels: int, depthwise: bool) -> None:
    candidate = convolution(channels, channels if depthwise else 1)
    (vector,) = WorkloadFeatures(TARGET).vectors([candidate])
    assert len(vector) == len(WORKLOAD_FEATURES) and np.isfinite(vector).all()
    assert len(target_vector(TARGET)) == len(TARGET_FEATURES)
    assert anchor_labels(np.array([vector])) == ["depthwise" if depthwise else "contraction"]
    made = VOCABULARY.vector("conv2d", {"columns": 7, "other": 3}, 1e-5, 1e-5, vector, 8)
    assert len(made) == len(VOCABULARY.names) and np.isfinite(made).all()


def test_targets_survive_the_trip_through_text() -> None:
    again = target_from_json(target_json(TARGET))
    assert isinstance(again, Target) and machine_class(again) == machine_class(TARGET)
    assert (again.caches, dict(again.peak_flops)) == (TARGET.caches, dict(TARGET.peak_flops))
