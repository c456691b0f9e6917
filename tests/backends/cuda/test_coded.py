"""Weights of 1 to 8 bits, unpacked on the way to shared memory."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_kit import Case, best_kernel, cases_of, check, coded_matmul, emulate

from optc.ir import dtypes

GROUPS = {
    **{f"bits{bits}": (lambda bits=bits: coded_matmul(5, 40, 37, bits), "simt") for bits in range(1, 9)},
    "unsigned": (lambda: coded_matmul(3, 33, 20, 3, signed=False, zero=True), "simt"),
    "turned": (lambda: coded_matmul(6, 24, 19, 5, turned=True, zero=True), "simt"),
    "blocks": (lambda: coded_matmul(4, 64, 21, 4, block=16, zero=True), "simt"),
    "turned_blocks": (lambda: coded_matmul(4, 64, 21, 6, block=32, turned=True), "simt"),
    "half": (lambda: coded_matmul(9, 48, 24, 3, dtype=dtypes.FLOAT16), "tensor_core"),
    "half_blocks": (lambda: coded_matmul(9, 64, 24, 7, block=32, zero=True, dtype=dtypes.FLOAT16), "tensor_core"),
    "one_row": (lambda: coded_matmul(1, 136, 70, 3), "simt"),
}


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {name: cases_of(name, *make(), template, ["best"])[0] for name, (make, template) in GROUPS.items()}


@pytest.fixture(scope="module")
def results(cases: dict[str, Case]) -> dict[str, list[np.ndarray]]:
    found = emulate(list(cases.values()))
    return {name: found[case.name] for name, case in cases.items()}


@pytest.mark.parametrize("name", GROUPS)
def test_the_numbers_are_those_of_the_reference(
    name: str, cases: dict[str, Case], results: dict[str, list[np.ndarray]]
) -> None:
    check(cases[name], results[name])


@pytest.mark.parametrize("bits", range(1, 8))
def test_a_kernel_reads_as_many_bits_as_a_code_has(bits: int, cases: dict[str, Case]) -> None:
    case = cases[f"bits{bits}"]
    knobs = dict(case.kernel.selection.chosen.schedule)
    stored = case.stored[1]
    depth, width = -(-40 // knobs["depth"]) * knobs["depth"], -(-37 // knobs["columns"]) * knobs["columns"]
    assert stored.nbytes == depth * width * bits // 8 + 12
    assert f"optc_unpack<{bits}, true>" in case.kernel.source


def test_blocks_of_scales_that_a_run_of_codes_would_cross_are_read_element_by_element() -> None:
    builder, value = coded_matmul(4, 24, 21, 4, block=12)
    kernel = best_kernel("crossed", builder.group(value))
    assert not isinstance(kernel, str) and "optc_unpack" not in kernel.source
