"""The fits recover what made the data, in spite of outliers; intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from optc.costmodel.architectures.intervals import calibrate
from optc.costmodel.architectures.regression import fit_correction, fit_linear


def data(rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    generator = np.random.default_rng(0)
    features = generator.integers(0, 5, (rows, 3)).astype(float)
    return features, 3.0 + features @ np.array([0.5, 2.0, 7.0]), generator


def test_linear_finds_the_costs_below_a_third_of_outliers():
    features, latency, generator = data()
    slow = generator.random(len(latency)) < 0.33
    found = fit_linear(features, latency * np.where(slow, 1.5, 1.0))
    assert found.coefficients == pytest.approx([3.0, 0.5, 2.0, 7.0], rel=0.02)
    assert np.exp(found.log_latency(features)) == pytest.approx(latency, rel=0.02)


def test_linear_never_predicts_nothing():
    features, latency, _ = data()
    found = fit_linear(features, latency)
    assert np.exp(found.log_latency(np.full((1, 3), -100.0)))[0] == pytest.approx(0.02 * np.median(latency))


def test_correction_learns_a_product_of_features():
    features, latency, _ = data()
    bent = latency * np.exp(0.1 * np.tanh(features[:, 0] - 2) * np.tanh(features[:, 1] - 2))
    linear = fit_linear(features, bent)
    residual = np.log(bent) - linear.log_latency(features)
    half = len(residual) // 2
    correction = fit_correction(features[:half], residual[:half], 2.0, 0.01)
    left = residual[half:] - correction(features[half:])
    assert np.abs(left).mean() < 0.25 * np.abs(residual[half:]).mean()


def test_intervals_hold_nine_in_ten_though_the_noise_grows():
    generator = np.random.default_rng(1)
    prediction = generator.uniform(0.0, 3.0, 4000)
    measured = prediction + generator.normal(size=4000) * (0.02 + 0.1 * prediction)
    interval = calibrate(prediction[:2000], measured[:2000])
    low, high = interval.ends(prediction[2000:])
    inside = (measured[2000:] >= low) & (measured[2000:] <= high)
    for part in (prediction[2000:] < 1.0, prediction[2000:] > 2.0):
        assert 0.86 < inside[part].mean() < 0.94
    assert ((low <= prediction[2000:]) & (prediction[2000:] <= high)).all()
