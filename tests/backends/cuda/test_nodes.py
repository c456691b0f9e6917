"""Every twentieth of ONNX's own node tests, and all of attention, by the kernels that a compile would choose."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_kit import FAST, best_kernel
from kernel_harness import NodeCase, group_of, node_cases

from optc.backends.cuda.capability import supports
from optc.backends.cuda.emulator.build import Emulator
from optc.backends.cuda.kernel import CudaKernel
from optc.backends.tvm.group import Group
from optc.ir.core import Operation

TOLERANCE = {8: (1e-7, 1e-9), 4: (1e-5, 1e-6), 2: (1e-2, 1e-2)}
FOUR_DIGITS = "test_averagepool_2d_ceil_last_window_starts_on_pad"  # the suite's literals have no more

Made = list[tuple[NodeCase, Group, list[np.ndarray], CudaKernel]]


def native(operation: Operation) -> bool:
    """Whether GPUs have a kernel for it."""
    return supports(operation) is None


@pytest.fixture(scope="module")
def made() -> Made:
    eligible = []
    for case in node_cases():
        found = group_of(case)
        if not isinstance(found, str) and case.name != FOUR_DIGITS and all(map(native, found[0].body)):
            eligible.append((case, *found))
    chosen = [each for number, each in enumerate(eligible) if number % 20 == 0 or "attention" in each[0].name]
    result: Made = []
    for number, (case, group, inputs) in enumerate(chosen):
        kernel = best_kernel(f"node{number}", group)
        assert isinstance(kernel, CudaKernel), f"{case.name}: {kernel}"
        result.append((case, group, inputs, kernel))
    return result


@pytest.fixture(scope="module")
def emulator(made: Made) -> Emulator:
    return Emulator([kernel for *_, kernel in made], options=FAST)


@pytest.mark.parametrize("reversed", [False, True])
def test_the_emulated_kernels_give_the_suites_numbers(
    made: Made, emulator: Emulator, reversed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order the threads run between barriers."""
    assert len(made) > 50
    if reversed:
        monkeypatch.setenv("OPTC_EMULATION_REVERSED", "1")
    wrong = []
    for case, group, inputs, kernel in made:
        outputs = [np.ones(v.tensor_type.stored_shape or (1,), v.dtype.numpy) for v in group.body.outputs]
        stored = [kernel.pack[i][1](array) if i in kernel.pack else array for i, array in enumerate(inputs)]
        emulator.run(kernel, [np.ascontiguousarray(each.reshape(each.shape or (1,))) for each in stored], outputs)
        for found, name in zip(outputs, [name for name in case.node.output if name], strict=True):
            expected = case.outputs[name]
            try:
                _check(found.reshape(expected.shape), expected)
            except AssertionError as error:
                wrong.append(f"{case.name} by {kernel.template}: {error}")
    assert not wrong, "\n".join(wrong)


def test_most_templates_take_part(made: Made) -> None:
    assert {kernel.template for *_, kernel in made} >= {"attention", "generic", "pointwise", "rows"}


def _check(found: np.ndarray, expected: np.ndarray) -> None:
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(found, expected)
    else:
        rtol, atol = TOLERANCE[expected.dtype.itemsize]
        np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol)
