"""Calibration: ranges, streams and faults, against brute force over the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.errors import OptcError, UsageError
from optc.passes.quantization.affine import parameters_for
from optc.passes.quantization.formats import IntegerFormat
from optc.passes.quantization.histogram import Histogram
from optc.passes.quantization.observers import Observer, observer

INT8 = IntegerFormat(8)
HEAVY = np.random.default_rng(0).standard_t(3, 60_000)


def fed(method: str, values: np.ndarray, batches: int = 5) -> Observer:
    watching = observer(method, "layer1/output")
    for batch in np.array_split(values, batches):
        watching.observe(batch)
    return watching


def squared_error(low: float, high: float, values: np.ndarray, format: IntegerFormat = INT8) -> float:
    return float(((parameters_for(low, high, format, symmetric=False).apply(values) - values) ** 2).sum())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30),
    st.integers(2, 8),
    st.booleans(),
    st.booleans(),
)
def test_codes_err_by_a_step_at_most(values: list[float], width: int, signed: bool, symmetric: bool) -> None:
    array = np.array(values)
    parameters = parameters_for(array.min(), array.max(), IntegerFormat(width, signed), symmetric=symmetric)
    error = np.abs(parameters.apply(array) - array)
    scale = float(parameters.scale)
    # A zero point is a whole number: the range may be moved by half a step, and its ends err by as much more.
    assert (error <= scale * (1.0 + 1e-4) + 1e-30).all()
    assert parameters.apply(np.zeros(1))[0] == 0.0


def test_channels_have_their_own_scale() -> None:
    weights = np.array([[1.0, -2.0], [0.01, 0.006]])
    parameters = parameters_for([-2.0, 0.006], [1.0, 0.01], INT8, symmetric=True, axis=0)
    np.testing.assert_allclose(parameters.scale, [2 / 127, 0.01 / 127], rtol=1e-6)
    np.testing.assert_array_equal(parameters.quantize(weights), [[64, -127], [127, 76]])


def test_the_histogram_of_a_stream_is_that_of_the_whole() -> None:
    stream, whole = Histogram(256), Histogram(256)
    for batch in np.array_split(HEAVY, 40):
        stream.add(batch)
    whole.add(HEAVY)
    assert stream.limit == whole.limit
    np.testing.assert_array_equal(stream.counts, whole.counts)
    np.testing.assert_array_equal(whole.counts, np.histogram(HEAVY, whole.edges)[0])
    assert abs(whole.quantile(0.5) - np.median(HEAVY)) < 2 * whole.limit / 256


def test_min_max_sees_all_and_the_average_forgets() -> None:
    values = np.concatenate([[-9.0], np.linspace(-1, 1, 99)])
    assert fed("min-max", values).range(INT8) == (-9.0, 1.0)
    watching = observer("moving-average", "x")
    for batch in ([-9.0, 0.0], [-1.0, 1.0], [-1.0, 2.0]):
        watching.observe(np.array(batch))
    low, high = watching.range(INT8)
    np.testing.assert_allclose([low, high], [-9 * 0.81 - 0.19, 0.09 + 0.2])


def test_min_max_by_channel() -> None:
    watching = observer("min-max", "x", axis=1)
    watching.observe(np.array([[1.0, -5.0], [3.0, 2.0]]))
    low, high = watching.range(INT8)
    np.testing.assert_array_equal([low, high], [[1.0, -5.0], [3.0, 2.0]])


def test_a_percentile_leaves_its_share_outside() -> None:
    low, high = fed("percentile", HEAVY).range(INT8)
    outside = ((low > HEAVY) | (high < HEAVY)).mean()
    assert 0.5e-4 < outside < 2e-4


def test_the_squared_error_is_within_a_percent_of_brute_force() -> None:
    for width in (4, 8):
        format = IntegerFormat(width)
        low, high = fed("mse", HEAVY).range(format)
        shares = np.linspace(0.02, 1.0, 200)
        best = min(squared_error(HEAVY.min() * s, HEAVY.max() * s, HEAVY, format) for s in shares)
        assert squared_error(float(low), float(high), HEAVY, format) <= 1.01 * best


def test_entropy_clips_outliers_and_keeps_what_has_none() -> None:
    low, high = fed("entropy", np.concatenate([HEAVY, [900.0]])).range(INT8)
    assert high < 450 and low > 2 * HEAVY.min()
    low, high = fed("entropy", np.random.default_rng(1).uniform(-1, 1, 50_000)).range(INT8)
    assert low < -0.95 and high > 0.95


@pytest.mark.parametrize("method", Observer.registry)
def test_a_constant_has_a_range(method: str) -> None:
    for value in (0.0, 3.0):
        watching = fed(method, np.full(10, value))
        low, high = watching.range(INT8)
        parameters = parameters_for(low, high, INT8, symmetric=False)
        np.testing.assert_allclose(parameters.apply(np.full(1, value)), value, rtol=1e-2)


@pytest.mark.parametrize("method", Observer.registry)
def test_faults_name_the_tensor(method: str) -> None:
    watching = fed(method, np.ones(4), 2)
    with pytest.raises(OptcError) as caught:
        watching.observe(np.array([1.0, np.nan, np.inf]))
    assert str(caught.value) == (
        "'layer1/output' is not finite during calibration\n  at batch 3\n  2 of 3 values are NaN or infinite\n"
        "  hint: check that the calibration data are preprocessed as in training"
    )
    with pytest.raises(OptcError, match="'idle' was never computed during calibration"):
        observer(method, "idle").range(INT8)


def test_names() -> None:
    with pytest.raises(UsageError) as caught:
        observer("minmax", "x")
    assert str(caught.value) == "no calibration method is called 'minmax'\n  hint: did you mean 'min-max'?"
    with pytest.raises(UsageError, match="the calibration method 'entropy' knows no channels"):
        observer("entropy", "x", axis=0)


def test_weights_keep_what_matters_inside() -> None:
    random = np.random.default_rng(5)
    values = random.normal(size=(2000, 8))
    values[:, 2] *= np.where(random.random(2000) < 0.01, 30.0, 0.1)
    found = []
    for weights in (None, np.array([1e-3, 1e-3, 8.0, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3])):
        watching = observer("mse", "x")
        watching.weights = weights
        watching.observe(values)
        found.append(watching.range(IntegerFormat(4, signed=False)))
    error = [float(np.square(np.clip(values[:, 2], *each) - values[:, 2]).sum()) for each in found]
    assert error[1] < 0.5 * error[0]
