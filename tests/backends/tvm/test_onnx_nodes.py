"""Every lowering against ONNX's own node tests, compiled together into one object file."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from kernel_harness import NodeCase, Prepared, compile_all, group_of, node_cases, prepare, run

from optc.backends.tvm.loader import LoadedKernels
from optc.targets import Target, load

# Results of half-precision operations differ from the suite's by the rounding of intermediate values.
TOLERANCE = {8: (1e-7, 1e-9), 4: (1e-5, 1e-6), 2: (1e-2, 1e-2)}
FOUR_DIGITS = {"test_averagepool_2d_ceil_last_window_starts_on_pad"}  # the suite's literals have no more


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


@pytest.fixture(scope="module")
def suite(host: Target) -> tuple[LoadedKernels, dict[str, tuple[NodeCase, Prepared]]]:
    prepared: dict[str, tuple[NodeCase, Prepared]] = {}
    for case in node_cases():
        found = group_of(case)
        if not isinstance(found, str):
            prepared[f"k{len(prepared)}"] = (case, prepare(found[0], found[1], host))
    return compile_all({symbol: each for symbol, (_, each) in prepared.items()}, host), prepared


def test_every_eligible_case_gives_the_suites_numbers(
    suite: tuple[LoadedKernels, dict[str, tuple[NodeCase, Prepared]]],
) -> None:
    kernels, prepared = suite
    wrong = []
    for symbol, (case, each) in prepared.items():
        wanted = [case.outputs[name] for name in case.node.output if name]
        for actual, expected in zip(run(kernels, symbol, each), wanted, strict=True):
            try:
                _check(actual, expected, case.name in FOUR_DIGITS)
            except AssertionError as error:
                wrong.append(f"{case.name}: {error}")
    assert not wrong, "\n".join(wrong)


def _check(actual: np.ndarray, expected: np.ndarray, coarse: bool) -> None:
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected)
    else:
        rtol, atol = (5e-4, 0.0) if coarse else TOLERANCE[expected.dtype.itemsize]
        np.testing.assert_allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol)


def test_most_of_the_suites_tensor_operations_are_covered(
    suite: tuple[LoadedKernels, dict[str, tuple[NodeCase, Prepared]]],
) -> None:
    kinds = Counter(case.node.op_type for case, _ in suite[1].values())
    assert len(suite[1]) >= 750
    assert {"Softmax", "LayerNormalization", "MaxPool", "AveragePool", "Resize", "ArgMax", "Gather", "Pad"} <= set(
        kinds
    )
