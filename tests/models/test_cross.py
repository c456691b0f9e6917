"""Models compiled for other architectures: what they compute in an emulator, and what their libraries need there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from optc import driver, targets
from optc.errors import OptcError
from optc.runtime import load
from optc.targets.foreign import compiler_for, is_foreign

SAMPLE = Path(__file__).parents[2] / "samples" / "models" / "cifar10_resnet8.onnx"
TARGETS = ("aarch64", "rpi4", "rpi5", "riscv64", "wasm")


def reason_to_skip(name: str) -> str | None:
    target = targets.load(name)
    if not is_foreign(target):
        return f"this machine is a {name}"
    try:
        compiler_for(target)
    except OptcError as error:
        return error.what
    emulator = target.toolchain["emulator"]
    return None if shutil.which(emulator) else f"no {emulator}"


@pytest.fixture(scope="module", params=["rpi4", "riscv64", "wasm"])
def crossed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> driver.Artifact:
    if reason := reason_to_skip(request.param):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("cross") / request.param
    return driver.compile(SAMPLE, target=request.param, dims={"batch": 1}, output=folder, threads=2)


def test_the_emulated_numbers_are_those_of_the_model(crossed: driver.Artifact) -> None:
    verification = crossed.manifest.verification
    assert verification is not None and verification["passed"]
    assert verification["emulator"] == targets.load(crossed.manifest.target).toolchain["emulator"]
    assert 0 < verification["outputs"][0]["relative"] < 1e-5


def test_it_needs_only_the_c_library(crossed: driver.Artifact) -> None:
    if not shutil.which("readelf"):
        pytest.skip("no readelf")
    if not (crossed.path / "libmodel.so").exists():
        pytest.skip("no ELF file")
    command = ["readelf", "-W", "-d", "-V", crossed.path / "libmodel.so"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    needed = {name for name in re.findall(r"NEEDED.*\[(.*)\]", text) if not name.startswith("ld-linux")}
    assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}


def test_this_machine_refuses_to_run_it(crossed: driver.Artifact) -> None:
    assert not crossed.runs_here
    inputs = {"pixels": np.zeros((1, 3, 32, 32), np.float32)}
    with pytest.raises(OptcError, match="compiled for another kind of machine"):
        crossed.run(inputs)
    with pytest.raises(OptcError, match="compiled for another kind of machine"):
        load(crossed.path)


def test_nothing_was_timed_here(crossed: driver.Artifact) -> None:
    """Kernels of another machine cannot be measured, and no figure may pretend so."""
    plan = json.loads((crossed.path / "plan.json").read_text())
    kernels = plan["decisions"]["kernels"]
    assert kernels and all(kernel["measured_seconds"] is None and kernel["timed"] == 0 for kernel in kernels)


@pytest.mark.parametrize("name", TARGETS)
def test_the_triples_of_a_target_agree(name: str) -> None:
    target = targets.load(name)
    architecture = str(target.llvm["mtriple"]).split("-")[0]
    tools = dict(target.toolchain)
    assert {text.split("-")[0] for key, text in tools.items() if key != "emulator"} == {architecture}
    assert tools["emulator"]
