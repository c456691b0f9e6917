"""What counts as the numbers of the ONNX suite, and what the report says of it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from onnx_kit import model, node, value

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.onnx_backend import markdown, summary
from benchmarks.onnx_suite import Loaded, judge, same, with_constants

CASE = SimpleNamespace(name="test_add", rtol=1e-3, atol=1e-7)
ONES = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (ONES[:2], ONES),
        (ONES.astype(np.float64), ONES),
        (np.array([1, np.nan, 1], np.float32), ONES),
        (ONES * 1.01, ONES),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array(["a"], object), np.array(["b"], object)),
        ([ONES], [ONES, ONES]),
        ([ONES], [ONES * 2]),
        (ONES, None),
    ],
)
def test_differences_are_found(actual: object, expected: object) -> None:
    assert not same(actual, expected, CASE.rtol, CASE.atol)
    assert judge(CASE, [], [actual], [expected]).difference is not None


@pytest.mark.parametrize(
    "expected",
    [ONES, np.array([np.nan, np.inf], np.float32), np.array(["a"], object), [ONES, ONES], None, np.array([1, 2])],
)
def test_equal_outputs_pass(expected: object) -> None:
    assert judge(CASE, [], [expected], [expected]) == judge(CASE, [], [], [])


@pytest.mark.parametrize(
    ("dtype", "off", "passes"),
    [
        (np.float32, 7e-7 * 100, True),
        (np.float32, 2e-6 * 100, False),
        (np.float16, 9e-4 * 100, True),
        (np.float16, 2e-3 * 100, False),
        (ml_dtypes.bfloat16, 7e-3 * 100, True),
        (ml_dtypes.bfloat16, 2e-2 * 100, False),
        (np.int32, 1, False),
    ],
)
def test_rounding_is_relative_to_the_largest_value(dtype: type, off: float, passes: bool) -> None:
    verdict = judge(CASE, [], [np.array([100, off]).astype(dtype)], [np.array([100, 0]).astype(dtype)])
    assert (verdict.difference is None, verdict.rounding) == (passes, passes)


def test_random_outputs_are_checked_for_what_they_may_hold() -> None:
    bernoulli, dropout = (
        SimpleNamespace(name=name, rtol=0, atol=0) for name in ("test_bernoulli", "test_training_dropout")
    )
    bits = np.array([0, 1, 1], np.float32)
    assert judge(bernoulli, [], [bits], [1 - bits]).difference is None
    assert judge(bernoulli, [], [bits * 2], [bits]).difference == "has values other than 0 and 1"
    given = [ONES, np.float32(0.75)]
    assert judge(dropout, given, [bits * 4, bits > 0], [ONES, bits > 0]).difference is None
    assert judge(dropout, given, [bits * 3], [ONES]).difference == "has values that are neither 0 nor the scaled input"
    assert judge(dropout, given, [bits * 4, bits == 0], [ONES, bits > 0]).difference == "does not fit the mask"
    assert judge(dropout, given, [bits[:2]], [ONES]).difference == "is float32[2], not float32[3]"


def test_what_decides_shapes_becomes_part_of_the_model() -> None:
    made = model([node("Tile", "x n", "y")], [value("x", [2]), value("n", [1], 7)], ["y"])
    fixed = with_constants(Loaded(made, [([ONES[:2], np.array([3])], [np.ones(6, np.float32)])]))
    assert [info.name for info in fixed.inputs] == ["x"]
    assert [tensor.name for tensor in fixed.model.graph.initializer] == ["n"]
    assert len(fixed.data[0][0]) == 1 and fixed.shapes == {"x": [2]}
    assert with_constants(fixed) is fixed


def test_the_report() -> None:
    passed = {"class": "node tests", "outcome": "passed", "rounding": True, "native": 0.5, "fallbacks": ["it is odd"]}
    results = {
        "test_a": passed,
        "test_b": {"class": "node tests", "outcome": "refused", "why": "The input 'q' cannot be imported"},
        "test_c": {"class": "node tests", "outcome": "refused", "why": "The input 'r' cannot be imported"},
    }
    assert summary(results.values()) == "3 tests: passed 1 (33.3%), refused 2 (66.7%), wrong 0 (0.0%)"
    text = markdown(results, "python benchmarks/onnx_backend.py")
    assert "| node tests | 3 | 1 (33.3%) | 2 | 0 | 50.0% | 0 |" in text
    assert "* 2: The input … cannot be imported — `test_b`, `test_c`" in text
    assert "* 1: it is odd — `test_a`" in text
