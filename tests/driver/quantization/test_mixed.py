"""Mixed precision on a small network with one layer that quantization ruins: bounds, fronts, reasons, other targets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from graph_kit import Builder

from optc.driver.quantization.acceptance import Drop, compare, hits, last_accepted
from optc.driver.quantization.data import Data
from optc.driver.quantization.mixed import PrecisionSearch
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.sensitivity import Outputs, by_curvature, decibels, measured
from optc.errors import UsageError
from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model
from optc.passes.quantization.search.ilp import solve
from optc.passes.quantization.search.problem import FLOAT


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    """Three products; the second multiplies a channel that holds almost nothing by a lot."""
    random = np.random.default_rng(0)
    b = Builder(x="batch,64")
    scale = np.ones(64, np.float32)
    scale[0] = 1e-3
    first = b.constant(random.normal(size=(64, 64)) * scale, np.float32)
    second = b.constant(random.normal(size=(64, 32)) / scale[:, None], np.float32)
    third = b.constant(random.normal(size=(32, 10)), np.float32)
    b.graph.set_outputs([b("MatMul", b("Relu", b("MatMul", b("MatMul", b.input("x"), first), second)), third)])
    data = random.normal(size=(64, 64)).astype(np.float32)
    return Quantizer.of(to_onnx_model(Module(b.graph)), [{"x": part} for part in np.split(data, 4)])


@pytest.fixture(scope="module")
def search(quantizer: Quantizer) -> PrecisionSearch:
    return quantizer.search(["int8", "int4"], objective="size", target="x86-64-v3")


def labelled(quantizer: Quantizer, samples: int) -> tuple[Data, np.ndarray]:
    random = np.random.default_rng(5)
    data = Data([{"x": random.normal(size=(samples, 64)).astype(np.float32)}], quantizer.module.main.inputs)
    from optc.driver.quantization.running import Runner

    scores = np.concatenate([Runner(quantizer.module).run(feeds)[0] for feeds in data.batches()])
    return data, scores.argmax(axis=1)


@pytest.mark.parametrize("bound", [15.0, 25.0, 32.0])
def test_the_bound_holds_on_the_model(search: PrecisionSearch, quantizer: Quantizer, bound: float) -> None:
    mixture = search.within_snr(bound)
    assert mixture.met and mixture.quantized
    outputs = Outputs.of(quantizer.module, quantizer.data)
    noise = outputs.noise(search.plan(mixture.point.schemes))
    assert decibels(noise) == pytest.approx(mixture.point.measured_snr)
    assert mixture.point.measured_snr >= bound
    assert mixture.point.cost == pytest.approx(search.problem.cost(mixture.point.schemes))


def test_the_ruined_layer_stays_precise_and_says_why(search: PrecisionSearch) -> None:
    mixture = search.within_snr(32.0)
    bad = search.problem.choices[1].layer
    assert mixture.point.schemes[bad] == FLOAT
    assert mixture.kept[bad].startswith("for 32 dB at every output (int8: -")
    assert "dB; int4: -" in mixture.kept[bad]


def test_a_bound_that_nothing_meets_gives_the_most_exact(search: PrecisionSearch) -> None:
    mixture = search.within_snr(200.0)
    assert not mixture.met and len(mixture.quantized) == 1
    errors = [max(option.error) for choice in search.problem.choices for option in choice.options[1:]]
    assert max(search.problem.errors(mixture.point.schemes)) == min(errors)


def test_nothing_on_the_front_is_beaten(search: PrecisionSearch) -> None:
    front = search.front(8)
    assert len(front) > 2 and not front[-1].quantized
    for first, second in pairwise(front):
        assert first.cost < second.cost and first.measured_snr < second.measured_snr


def test_a_target_without_arithmetic_on_bytes_keeps_floats(quantizer: Quantizer) -> None:
    search = quantizer.search(["int8"], objective="latency", target="jetson-tx2")
    assert solve(search.problem, 1e9) == search.in_float
    mixture = search.within_snr(20.0)
    assert mixture.met and not mixture.quantized
    assert set(mixture.kept.values()) == {"no format is offered: the target has no arithmetic on bytes"}


def test_curvatures_predict_measured_errors(quantizer: Quantizer) -> None:
    plans = {"int8": quantizer.plan("int8"), "int4/float": quantizer.plan("int4/float")}
    truth = measured(quantizer.module, plans, quantizer.data)
    predicted = by_curvature(quantizer.module, plans, quantizer.data)
    close = {key: noise for key, noise in truth.items() if decibels(noise) > 10.0}
    assert len(close) >= 3
    for key, noise in close.items():
        assert decibels(predicted[key]) == pytest.approx(decibels(noise), abs=3.0), key
    worst = {max(errors, key=lambda key: errors[key])[0] for errors in (truth, predicted)}
    assert len(worst) == 1


def test_a_drop_of_accuracy_is_bounded(search: PrecisionSearch, quantizer: Quantizer) -> None:
    data, labels = labelled(quantizer, 2000)
    mixture = search.within_drop(0.05, data, labels)
    assert mixture.met and mixture.drop is not None and mixture.drop.bound <= 0.05
    assert mixture.drop.accuracy == 1.0 and mixture.drop.gained == 0
    assert mixture.assumed.startswith("99.5% confidence, one-sided") and "calibration" not in mixture.assumed
    assert not search.within_drop(0.0, data, labels).met
    # Answers are kept, but not beyond the labels that they were judged by.
    other = search.within_drop(0.05, data, (labels + 1) % (labels.max() + 1))
    assert not other.drop or other.drop.accuracy == 0.0
    with pytest.raises(UsageError, match="there are fewer labels than samples"):
        hits(quantizer.module, data, labels[:3])


def test_the_interval_of_a_drop() -> None:
    reference = np.arange(1000) < 900
    found = reference.copy()
    found[:6] = False
    found[990:994] = True
    drop = compare(reference, found, 0.95)
    assert (drop.lost, drop.gained, drop.measured, drop.accuracy) == (6, 4, 0.002, 0.9)
    # 1.645 standard errors of two sets: sqrt(2 * (6.5 + 4.5 - 4 / 1002)) / 1002
    assert drop.margin == pytest.approx(1.644854 * np.sqrt(2 * (11 - 4 / 1002)) / 1002, rel=1e-6)


def test_a_further_set_honours_the_bound_as_often_as_said() -> None:
    random = np.random.default_rng(0)
    size, rates = 4000, (0.02, 0.015, 0.965)
    broken = 0
    for _ in range(400):
        first, second = random.multinomial(size, rates), random.multinomial(size, rates)
        bound = Drop(size, int(first[0]), int(first[1]), 0.9, 0.9).bound
        broken += (second[0] - second[1]) / size > bound
    assert 0.06 < broken / 400 < 0.14


def test_a_sequence_ends_at_the_first_failure() -> None:
    drops = {"a": Drop(1000, 0, 0, 0.9), "b": Drop(1000, 1, 0, 0.9), "c": Drop(1000, 90, 0, 0.9), "d": Drop(9, 0, 0, 1)}
    accepted, tried = last_accepted(list(drops), drops.__getitem__, 0.01)
    assert accepted == "b" and len(tried) == 3
    assert last_accepted(["c", "a"], drops.__getitem__, 0.01) == (None, [drops["c"]])
