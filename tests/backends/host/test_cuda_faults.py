"""Faults in use of a model on a GPU, from C, under the compiler's race and memory checkers and an emulated driver."""

from __future__ import annotations

import shutil
from pathlib import Path

import emulated_gpu_kit
import pytest
import sanitizer_kit
from native_kit import BYTES, SLOT, input_at, output_at, slot, tensor

from optc.backends.cuda.emulator.driver import NAME, driver_library
from optc.backends.host.entry import emit_entry
from optc.backends.host.launches import launch_object
from optc.backends.host.link import runtime_sources
from optc.backends.host.platform import CUDA
from optc.program import Branch, CopyStep, FallbackCall, KernelCall, Location, Program, Step
from optc.toolchain import find_compiler

FAULTS, FAILING = (Path(__file__).parent / name for name in ("cuda_faults.c", "failing.h"))
WRAPPED = ("calloc", "realloc", "aligned_alloc")


def everything() -> Program:
    """Each kind of step: y = a region of (x[0] > 0 ? 2 (x + w) : -(x + w)), z = w."""
    place, flag = Location("weights", 0, BYTES), Location("arena", 2 * SLOT, 1000)
    steps: tuple[Step, ...] = (
        KernelCall("add", (input_at(0), place, slot(0)), "plus"),
        KernelCall("is_positive", (input_at(0), flag), "sign"),
        Branch(
            Location("arena", 2 * SLOT, 1),
            (KernelCall("twice", (slot(0), slot(1)), "times"),),
            (KernelCall("negate", (slot(0), slot(1)), "minus"),),
            "choice",
        ),
        FallbackCall("region.onnx", ((tensor("a"), slot(1)),), ((tensor("y"), output_at(0)),), "region", "why"),
        CopyStep(place, output_at(1)),
    )
    return Program((tensor("x"),), (tensor("y"), tensor("z")), 3 * SLOT, SLOT, steps)


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
@pytest.mark.parametrize("check", ["races", "memory"])
def test_faults(check: str, tmp_path: Path) -> None:
    sanitizer_kit.require(check)
    compiler = find_compiler()
    kernels = [emulated_gpu_kit.KERNELS[symbol] for symbol in ("add", "is_positive", "twice", "negate")]
    (tmp_path / "launches.o").write_bytes(launch_object(kernels, compiler, "13.0"))
    (tmp_path / NAME).write_bytes(driver_library(compiler))
    (tmp_path / "kernels.so").write_bytes(emulated_gpu_kit.emulated_kernels())
    sources = {
        **runtime_sources(CUDA),
        "model.c": emit_entry(everything(), "faults", 1),
        "faults.c": FAULTS.read_text(),
        "failing.h": FAILING.read_text(),
    }
    options = ["launches.o", *(f"-Wl,--wrap={name}" for name in WRAPPED)]
    made = sanitizer_kit.build(tmp_path, check, sources, "typedef int nothing;\n", options)
    environment = {"LD_LIBRARY_PATH": str(tmp_path), "OPTC_EMULATED_KERNELS": str(tmp_path / "kernels.so")}
    assert sanitizer_kit.run(made, environment) == ("done\n", "", 0)
