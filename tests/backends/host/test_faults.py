"""Faults in use, from C, under the compiler's race and memory checkers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sanitizer_kit
from native_kit import BYTES, KERNELS, SIZE, SLOT, input_at, output_at, slot, tensor

from optc.backends.host.entry import emit_entry
from optc.backends.host.guard import guard_of
from optc.backends.host.link import runtime_sources
from optc.program import Branch, CopyStep, FallbackCall, KernelCall, Location, Program, Step, TensorInfo

FAULTS, FAILING = (Path(__file__).parent / name for name in ("faults.c", "failing.h"))
WRAPPED = ("calloc", "aligned_alloc", "mmap", "pthread_create")


def everything() -> tuple[Program, bytes]:
    """Each kind of step: y = x[0] > 0 ? -(x + w)^2 : a failure, f = a region of x, z = w, n = e of no bytes."""
    weights = np.zeros(SLOT // 4, np.float32)
    weights[:SIZE] = np.arange(SIZE) % 5
    place, flag = Location("weights", 0, BYTES), Location("arena", 2 * SLOT, 1)
    steps: tuple[Step, ...] = (
        KernelCall("add", (input_at(0), place, slot(0)), "plus"),
        KernelCall("square", (slot(0), slot(1)), "squares"),
        KernelCall("is_positive", (input_at(0), flag), "sign"),
        Branch(
            flag,
            (KernelCall("negate", (slot(1), output_at(0)), "minus"),),
            (KernelCall("broken", (slot(1), output_at(0)), "breaks"),),
            "choice",
        ),
        FallbackCall("region.onnx", ((tensor("x"), input_at(0)),), ((tensor("f"), output_at(1)),), "region", "why"),
        CopyStep(place, output_at(2)),
        CopyStep(Location("input", 0, 0, 1), Location("output", 0, 0, 3)),
    )
    outputs = (tensor("y"), tensor("f"), tensor("z"), TensorInfo("n", "float32", (0,)))
    inputs = (tensor("x"), TensorInfo("e", "float32", (0,)))
    return Program(inputs, outputs, 2 * SLOT + 64, SLOT, steps), weights.tobytes()


@pytest.mark.parametrize("check", ["races", "memory"])
def test_faults(check: str, tmp_path: Path) -> None:
    sanitizer_kit.require(check)
    program, weights = everything()
    damaged = bytes([weights[0] ^ 1]) + weights[1:]
    for name, content in (("whole", weights), ("damaged", damaged), ("short", weights[:-1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.bin").write_bytes(content)
    entry = emit_entry(program, "faults", guard=guard_of([weights], 1.0, 1e9))
    sources = {**runtime_sources(), "model.c": entry, "faults.c": FAULTS.read_text(), "failing.h": FAILING.read_text()}
    options = [f"-Wl,--wrap={name}" for name in WRAPPED]
    made = sanitizer_kit.build(tmp_path, check, sources, KERNELS, options)
    assert sanitizer_kit.run(made) == ("done\n", "", 0)
