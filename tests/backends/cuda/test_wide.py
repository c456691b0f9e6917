"""Element-wise kernels take neighbours by one load where they are neighbours in memory, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from contraction_cases import GroupBuilder
from cuda_kit import Case, best_case, check, emulate

from optc.ir import dtypes
from optc.ir.core import Value


def scaled(columns: int = 132) -> tuple[GroupBuilder, Value]:
    """One operand is the same for a whole row."""
    builder, shape = GroupBuilder(), (4, 64, columns)
    product = builder.op("onnx.Mul", builder.input(shape), builder.input((1, 64, 1)))
    return builder, builder.op("onnx.Relu", builder.op("onnx.Add", product, builder.input(shape)))


def uneven() -> tuple[GroupBuilder, Value]:
    """Four neighbours may lie in two rows."""
    return scaled(130)


def bytewise() -> tuple[GroupBuilder, Value]:
    builder = GroupBuilder()
    source = builder.input((2, 64, 4096), dtype=dtypes.INT8)
    return builder, builder.op("onnx.Abs", source)


def turned() -> tuple[GroupBuilder, Value]:
    builder = GroupBuilder()
    return builder, builder.op("onnx.Transpose", builder.input((4, 128, 128)), perm=(0, 2, 1))


def cut() -> tuple[GroupBuilder, Value]:
    """Starts between the places where a wide load may."""
    builder = GroupBuilder()
    starts = builder.graph.constant(np.array([1], np.int64), before=None)
    ends = builder.graph.constant(np.array([65537], np.int64), before=None)
    return builder, builder.op("onnx.Slice", builder.input((65540,)), starts, ends)


def padded() -> tuple[GroupBuilder, Value]:
    """A branch guards the reads."""
    builder = GroupBuilder()
    pads = builder.graph.constant(np.array([0, 4, 0, 4], np.int64), before=None)
    return builder, builder.op("onnx.Pad", builder.input((64, 1024)), pads)


WIDE = {
    "scaled": (scaled, 4), "uneven": (uneven, 1), "bytewise": (bytewise, 16), "turned": (turned, 1), "cut": (cut, 1),
    "padded": (padded, 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {name: best_case(name, *make()) for name, (make, _) in WIDE.items()}


@pytest.mark.parametrize("name", WIDE)
def test_neighbours_are_read_and_written_together(name: str, cases: dict[str, Case]) -> None:
    source, lanes = cases[name].kernel.source, WIDE[name][1]
    assert (f", {lanes}>" in source and "reinterpret_cast" in source) == (lanes > 1)
    (launch,) = cases[name].kernel.launches
    elements = int(np.prod(cases[name].outputs()[0].shape))
    assert launch.grid == (-(-elements // lanes // 256), 1, 1)


def test_the_numbers_are_those_of_the_reference(cases: dict[str, Case]) -> None:
    for name, found in emulate(list(cases.values())).items():
        check(cases[name], found)
