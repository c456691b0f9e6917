"""A drift of the measuring session is found, used for rows that say their place, and left out for the others."""

from __future__ import annotations

import numpy as np

from optc.costmodel.architectures import nb201
from optc.costmodel.architectures.fitting import fit
from optc.costmodel.architectures.kind import spread
from optc.costmodel.architectures.sessions import Kernel, Sessions, fit_sessions, own_offsets

_SLOW = 0.2


def drift_at(places: np.ndarray) -> np.ndarray:
    """A device that throttles in every other stretch of 2000 rows."""
    return np.where(places // 2000 % 2 == 1, _SLOW, 0.0)


def sample(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, places and latencies without drift, with 1% of noise."""
    generator = np.random.default_rng(seed)
    places = np.sort(generator.choice(np.flatnonzero(nb201.connected(nb201.index_table())), rows, replace=False))
    codes = nb201.index_table()[places]
    counts = nb201.features(codes, "eager")[:, :4]
    noise = np.exp(0.01 * generator.normal(size=rows))
    return codes, places.astype(float), (5.0 + counts @ np.array([0.1, 1.0, 6.0, 0.5])) * noise


def test_drift_is_found_and_used_only_where_the_place_is_known():
    codes, places, latency = sample(500, 0)
    found = fit(nb201.SPACE, codes, latency * np.exp(drift_at(places)), 3, 0, places)
    assert found.sessions is not None
    others, elsewhere, truth = sample(300, 1)
    placed = found.predict(others, elsewhere)
    errors = np.abs(np.log(placed.value / truth) - drift_at(elsewhere))
    assert np.median(errors) < 0.02
    anywhere = found.predict(others)
    middle = np.median(np.log(anywhere.value / truth))
    assert 0.25 * _SLOW < middle < 0.75 * _SLOW
    assert np.median(anywhere.high / anywhere.low) > 1.1 * np.median(placed.high / placed.low)


def test_no_drift_is_made_out_of_noise():
    codes, places, latency = sample(400, 2)
    assert fit(nb201.SPACE, codes, latency, 3, 0, places).sessions is None


def test_stored_sessions_say_the_same():
    generator = np.random.default_rng(3)
    places, sizes = generator.permutation(1000).astype(float), generator.normal(size=1000)
    known = fit_sessions(Kernel(30.0, 1.0, 0.5), places, sizes, 0.1 * np.sin(places / 50))
    again = Sessions.of_arrays(known.arrays())
    assert again is not None
    asked = np.arange(0.0, 1000.0, 7.0)
    np.testing.assert_allclose(again.offsets(asked, np.zeros(143)), known.offsets(asked, np.zeros(143)))
    assert Sessions.of_arrays({}) is None


def test_a_sample_does_not_tell_its_own_drift():
    places = np.arange(200.0)
    residuals = np.zeros(200)
    residuals[100] = 0.3
    assert own_offsets(Kernel(15.0, np.inf, 0.5), places, np.zeros(200), residuals)[100] == 0.0


def test_samples_are_spread_over_the_session():
    generator = np.random.default_rng(4)
    rows = generator.permutation(1000)
    chosen = spread(rows, np.arange(1000.0), 50)
    assert sorted(chosen // 20) == list(range(50)) and len(set(chosen % 20)) > 10
    assert (spread(rows, None, 50) == rows[:50]).all()
    assert (spread(rows, np.arange(1000.0), 0) == rows).all() and (spread(rows, None, 1001) == rows).all()
