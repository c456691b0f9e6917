"""Every template of products and convolutions at odd shapes: its CUDA source, run on the CPU, is right."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_kit import Case, cases_of, check, conv, emulate, gemm, integer_conv, matmul

from optc.ir import dtypes

F16, U8, I8 = dtypes.FLOAT16, dtypes.UINT8, dtypes.INT8

GROUPS = {
    "stem": (lambda: conv((1, 3, 17, 19), (13, 3, 3, 3), stride=2, pad=1), ("simt", "best first")),
    "point": (lambda: conv((2, 16, 6, 6), (24, 16, 1, 1), residual=True), ("simt", "best last")),
    "odd_point": (lambda: conv((1, 24, 5, 7), (40, 24, 1, 1)), ("simt", "best")),
    "square": (lambda: conv((1, 16, 10, 10), (20, 16, 3, 3), pad=1), ("simt", "best last shared")),
    "wide_taps": (lambda: conv((1, 5, 11, 11), (7, 5, 5, 5), pad=2), ("simt", "best")),
    "dilated": (lambda: conv((1, 8, 12, 12), (9, 8, 3, 3), pad=2, dilation=2), ("simt", "best")),
    "grouped": (lambda: conv((2, 12, 7, 7), (16, 6, 3, 3), pad=1, groups=2), ("simt", "best")),
    "line": (lambda: conv((1, 9, 33), (11, 9, 3), pad=1), ("simt", "best")),
    "rows": (lambda: matmul((2, 3, 9, 33), (33, 21)), ("simt", "best last")),
    "batched": (lambda: matmul((2, 3, 9, 32), (2, 3, 32, 20), constant=False), ("simt", "best first")),
    "even": (lambda: matmul((7, 64), (64, 48)), ("simt", "best last")),
    "turned": (lambda: gemm(5, 40, 33, turned=True), ("simt", "best")),
    "straight": (lambda: gemm(3, 64, 130, turned=False), ("simt", "best")),
    "channelwise": (lambda: conv((1, 8, 9, 11), (8, 1, 3, 3), pad=1, groups=8), ("depthwise", "best last")),
    "strided": (lambda: conv((2, 6, 9, 8), (6, 1, 3, 3), stride=2, pad=1, groups=6), ("depthwise", "best")),
    "multiplied": (lambda: conv((1, 3, 9, 9), (6, 1, 5, 5), pad=2, groups=3), ("depthwise", "best")),
    "sparse": (lambda: conv((1, 4, 9, 9), (4, 1, 3, 3), pad=2, groups=4, dilation=2, residual=True),
               ("depthwise", "best last")),
    "bytewise": (lambda: integer_conv((1, 4, 9, 9), (4, 1, 3, 3), pad=1, groups=4, zero=9), ("depthwise", "best")),
    "bytes_stem": (lambda: integer_conv((1, 3, 17, 19), (13, 3, 3, 3), stride=2, pad=1, zero=7),
                   ("tensor_core", "best first")),
    "bytes_point": (lambda: integer_conv((2, 16, 9, 9), (24, 16, 1, 1), zero=128), ("tensor_core", "best")),
    "bytes_signed": (lambda: integer_conv((1, 16, 8, 8), (20, 16, 3, 3), pad=1, zero=-3, dtype=I8),
                     ("tensor_core", "best last")),
    "bytes_grouped": (lambda: integer_conv((2, 32, 7, 7), (16, 16, 3, 3), pad=1, groups=2, zero=100),
                      ("tensor_core", "best")),
    "bytes_simt": (lambda: integer_conv((1, 6, 7, 7), (9, 6, 3, 3), pad=1, zero=5), ("simt", "best")),
    "bytes_rows": (lambda: matmul((5, 37), (37, 19), dtype=U8, zero=11), ("tensor_core", "best")),
    "bytes_even": (lambda: matmul((2, 33, 64), (64, 48), dtype=U8, zero=130), ("tensor_core", "best last")),
    "bytes_batched": (lambda: matmul((2, 9, 32), (2, 32, 20), dtype=U8, constant=False), ("tensor_core", "best")),
    "half_stem": (lambda: conv((1, 3, 17, 19), (13, 3, 3, 3), stride=2, pad=1, dtype=F16), ("tensor_core", "best")),
    "half_square": (lambda: conv((1, 16, 10, 10), (20, 16, 3, 3), pad=1, dtype=F16), ("tensor_core", "best shared")),
    "half_rows": (lambda: matmul((2, 3, 9, 33), (33, 21), dtype=F16), ("tensor_core", "best first")),
    "half_batched": (lambda: matmul((2, 9, 32), (2, 32, 20), dtype=F16, constant=False), ("tensor_core", "best")),
    "half_simt": (lambda: matmul((9, 17), (17, 21), dtype=F16), ("simt", "best")),
    "double": (lambda: matmul((9, 17), (17, 21), dtype=dtypes.FLOAT64), ("simt", "best")),
}  # fmt: skip


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Case]]:
    return {
        name: cases_of(name, *make(), template, picks.split()) for name, (make, (template, picks)) in GROUPS.items()
    }


@pytest.fixture(scope="module")
def results(cases: dict[str, list[Case]]) -> dict[str, list[np.ndarray]]:
    return emulate([case for each in cases.values() for case in each])


@pytest.mark.parametrize("name", GROUPS)
def test_the_numbers_are_those_of_the_reference(
    name: str, cases: dict[str, list[Case]], results: dict[str, list[np.ndarray]]
) -> None:
    for case in cases[name]:
        check(case, results[case.name])


def test_sums_that_several_blocks_share_lie_in_scratch_memory(cases: dict[str, list[Case]]) -> None:
    kernel = cases["square"][2].kernel
    parts = dict(kernel.selection.chosen.schedule)["parts"]
    assert [launch.function for launch in kernel.launches] == ["square_simt_shared", "square_simt_shared_sum"]
    assert kernel.launches[0].grid[1] == parts
    assert kernel.scratch_bytes == (4 * parts * 20 * 10 * 10,)
