"""Operands that a kernel may overwrite: where each thread reads only what it stores, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from contraction_cases import GroupBuilder
from cuda_kit import FAST, Case, best_case, check, conv

from optc.backends.cuda.emulator.build import Emulator
from optc.ir.core import Value


def added() -> tuple[GroupBuilder, Value]:
    builder = GroupBuilder()
    return builder, builder.op("onnx.Add", builder.input((3, 40)), builder.input((1, 40)))


def turned() -> tuple[GroupBuilder, Value]:
    builder = GroupBuilder()
    return builder, builder.op("onnx.Transpose", builder.input((40, 40)), perm=(1, 0))


def doubled() -> tuple[GroupBuilder, Value]:
    """Reads one operand at the place of the result and elsewhere."""
    builder = GroupBuilder()
    source = builder.input((40, 40))
    return builder, builder.op("onnx.Add", source, builder.op("onnx.Transpose", source, perm=(1, 0)))


def pooled() -> tuple[GroupBuilder, Value]:
    builder = GroupBuilder()
    return builder, builder.op("onnx.MaxPool", builder.input((1, 3, 8, 8)), kernel_shape=(3, 3), pads=(1, 1, 1, 1))


PAIRS = {
    "added": (added, ((0, 0),)),
    "turned": (turned, ()),
    "doubled": (doubled, ()),
    "pooled": (pooled, ()),
    "residual": (lambda: conv((2, 16, 6, 6), (24, 16, 1, 1), residual=True), ((3, 0),)),
    "channelwise": (lambda: conv((1, 4, 9, 9), (4, 1, 3, 3), pad=1, groups=4, residual=True), ((3, 0),)),
    "plain": (lambda: conv((1, 16, 6, 6), (16, 16, 3, 3), pad=1), ()),
}


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {name: best_case(name, *make()) for name, (make, _) in PAIRS.items()}


@pytest.mark.parametrize("name", PAIRS)
def test_only_operands_that_are_read_where_they_are_overwritten_may_be(name: str, cases: dict[str, Case]) -> None:
    kernel = cases[name].kernel
    assert kernel.in_place == PAIRS[name][1]
    for operand, result in kernel.in_place:
        assert f"__restrict__ input{operand}" not in kernel.source
        assert f"__restrict__ output{result}" not in kernel.source


def test_the_numbers_stay_right_when_they_are(cases: dict[str, Case]) -> None:
    emulator = Emulator([case.kernel for case in cases.values()], options=FAST)
    for case in cases.values():
        stored, outputs = case.stored, case.outputs()
        for operand, result in case.kernel.in_place:
            stored[operand] = outputs[result] = np.array(stored[operand]).reshape(outputs[result].shape)
        emulator.run(case.kernel, stored, outputs)
        check(case, outputs)
