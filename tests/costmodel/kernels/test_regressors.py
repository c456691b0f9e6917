"""Trees and perceptrons against independent evaluations, and how fast NumPy answers for many rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc import native
from optc.costmodel.kernels.familiarity import Familiarity, familiarity
from optc.costmodel.kernels.intervals import OTHERS, conformal
from optc.costmodel.kernels.perceptron import CLIP, SLOPE, TOGETHER, Perceptrons
from optc.costmodel.kernels.trees import ObliviousTrees, _compiled
from optc.errors import OptcError


def random_trees(rng: np.random.Generator, trees: int, depth: int, columns: int) -> ObliviousTrees:
    return ObliviousTrees(
        rng.integers(0, columns, (trees, depth)).astype(np.int32),
        rng.normal(size=(trees, depth)).astype(np.float32),
        rng.normal(size=(trees, 1 << depth)).astype(np.float32),
        0.5,
        2.0,
    )


def test_trees_are_evaluated_node_by_node() -> None:
    rng = np.random.default_rng(0)
    trees = random_trees(rng, 7, 3, 5)
    rows = rng.normal(size=(11, 5)).astype(np.float32)
    expected = []
    for row in rows:
        total = 0.0
        for features, borders, leaves in zip(trees.features, trees.borders, trees.leaves, strict=True):
            leaf = sum((row[f] > b) << level for level, (f, b) in enumerate(zip(features, borders, strict=True)))
            total += float(leaves[leaf])
        expected.append(2.0 * total + 0.5)
    np.testing.assert_allclose(trees.predict(rows), expected, rtol=1e-6)
    again = ObliviousTrees.of_arrays(trees.arrays("t"), "t")
    np.testing.assert_array_equal(again.predict(rows), trees.predict(rows))


def test_the_function_in_c_adds_as_numpy_does() -> None:
    rng = np.random.default_rng(7)
    for count, depth, rows in ((150, 6, 131), (64, 1, 1), (65, 8, 64), (3, 2, 0)):
        trees = random_trees(rng, count, depth, 9)
        values = rng.normal(size=(rows, 9)).astype(np.float32)
        values[: rows // 2, 0] = trees.borders[0, 0]  # equal to a border: not above it
        compiled = _compiled()
        assert compiled is not None
        np.testing.assert_array_equal(trees._sums(values, compiled), trees._sums(values, None))


def test_without_a_compiler_numpy_evaluates(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise OptcError("no C compiler was found")

    trees = random_trees(np.random.default_rng(8), 5, 3, 4)
    rows = np.random.default_rng(9).normal(size=(6, 4))
    expected = trees.predict(rows)
    monkeypatch.setattr(native, "library", missing)
    _compiled.cache_clear()
    try:
        assert _compiled() is None
        np.testing.assert_array_equal(trees.predict(rows), expected)
    finally:
        _compiled.cache_clear()


def test_exported_trees_answer_as_catboost_does() -> None:
    catboost = pytest.importorskip("catboost")
    from optc.costmodel.kernels.fitting import fit_trees

    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 6))
    values = rows[:, 0] * rows[:, 1] + np.sin(rows[:, 2])
    trees = fit_trees(rows, values, trees=30)
    error = np.abs(trees.predict(rows) - values).mean()
    assert error < 0.5 * np.abs(values - values.mean()).mean()
    np.testing.assert_array_equal(fit_trees(rows, values, trees=30).leaves, trees.leaves)
    assert catboost is not None


def test_perceptrons_are_matrix_products_and_leaky_rectifiers() -> None:
    rng = np.random.default_rng(2)
    shapes = [(3, 4, 5), (3, 5, 2), (3, 2, 1)]
    net = Perceptrons(
        rng.normal(size=4).astype(np.float32),
        np.full(4, 2.0, np.float32),
        tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes),
        tuple(rng.normal(size=(3, 1, shape[2])).astype(np.float32) for shape in shapes),
    )
    rows = rng.normal(size=(TOGETHER + 6, 4)) * 10
    outputs = []
    for member in range(3):
        hidden = np.clip((rows - net.mean) / net.deviation, -CLIP, CLIP)
        for layer in range(3):
            hidden = hidden @ net.weights[layer][member] + net.biases[layer][member]
            hidden = np.where((hidden > 0) | (layer == 2), hidden, SLOPE * hidden)
        outputs.append(hidden[:, 0])
    np.testing.assert_allclose(net.members(rows), outputs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(net.predict(rows), np.mean(outputs, axis=0), rtol=1e-4, atol=1e-4)
    assert np.array_equal(Perceptrons.of_arrays(net.arrays("n"), "n").predict(rows), net.predict(rows))


def test_a_column_that_never_changed_says_nothing() -> None:
    pytest.importorskip("torch")
    from optc.costmodel.kernels.fitting import fit_perceptrons

    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.normal(size=(60, 2)), np.full((60, 1), 5.0)], axis=1)
    net = fit_perceptrons(rows, rows[:, 0], np.repeat(np.arange(12), 5).astype(str), epochs=2)
    moved = rows + np.array([0.0, 0.0, 1.0])
    np.testing.assert_array_equal(net.predict(rows), net.predict(moved))


@settings(derandomize=True, max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.floats(0.01, 2.0), shift=st.floats(-1.0, 1.0))
def test_intervals_cover_nine_in_ten(seed: int, spread: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    errors = rng.normal(shift, spread, 4000)
    groups = np.where(rng.random(4000) < 0.01, "rare", "usual")
    intervals = conformal(errors[:2000], groups[:2000])
    low, high = intervals.of(groups[2000:].tolist())
    inside = (np.exp(errors[2000:]) >= low) & (np.exp(errors[2000:]) <= high)
    assert 0.86 <= inside.mean() <= 0.94
    assert "rare" not in intervals.quantiles and OTHERS in intervals.quantiles


def test_what_was_seen_is_familiar_and_what_is_far_is_not() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(400, 6))
    made = familiarity(rows, np.arange(400).astype(str))
    again = Familiarity.of_arrays(made.arrays("f"), "f")
    assert again.known(rows).mean() > 0.95
    assert not again.known(rows + 20.0).any()
    assert (again.distances(rows + 20.0) > again.distances(rows)).all()
