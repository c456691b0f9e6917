"""Models compiled for other architectures: what they compute in an emulator, and what their libraries need there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optc import driver, targets
from optc.backends.cuda.toolkit import check_architecture
from optc.errors import OptcError
from optc.runtime import load
from optc.targets.foreign import compiler_for, is_foreign

SAMPLE = Path(__file__).parents[2] / "samples" / "models" / "cifar10_resnet8.onnx"
TARGETS = ("aarch64", "armv7", "rpi4", "rpi5", "riscv64", "wasm")


def reason_to_skip(name: str) -> str | None:
    target = targets.load(name)
    if not is_foreign(target):
        return f"this machine is a {name}"
    try:
        compiler_for(target)
    except OptcError as error:
        return error.what
    emulator = target.toolchain["emulator"].split()[0]
    return None if shutil.which(emulator) else f"no {emulator}"


@pytest.fixture(scope="module", params=["rpi4", "armv7", "riscv64", "wasm"])
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
    for key, text in tools.items():
        if text != "node":
            named = text.split("-")[1 if key == "emulator" else 0]
            assert architecture.startswith(named)
    assert tools["emulator"]


def network_of_codes() -> tuple[onnx.ModelProto, np.ndarray]:
    """Two convolutions of bytes whose output is codes, and an input.

    Scales are powers of two, so that sums in floats are exact and the codes have one right value.
    """
    random = np.random.default_rng(0)
    constants = {
        "fine": np.float32(2**-6), "weight": np.float32(2**-7), "coarse": np.float32(0.5), "middle": np.uint8(128),
        "none": np.int8(0), "w1": random.integers(-64, 65, (64, 64, 3, 3)).astype(np.int8),
        "w2": random.integers(-64, 65, (64, 64, 1, 1)).astype(np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "fine", "middle"], ["x_codes"]),
        helper.make_node("DequantizeLinear", ["x_codes", "fine", "middle"], ["x_again"]),
        helper.make_node("DequantizeLinear", ["w1", "weight", "none"], ["w1_floats"]),
        helper.make_node("Conv", ["x_again", "w1_floats"], ["first"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first"], ["positive"]),
        helper.make_node("QuantizeLinear", ["positive", "coarse", "middle"], ["positive_codes"]),
        helper.make_node("DequantizeLinear", ["positive_codes", "coarse", "middle"], ["positive_again"]),
        helper.make_node("DequantizeLinear", ["w2", "weight", "none"], ["w2_floats"]),
        helper.make_node("Conv", ["positive_again", "w2_floats"], ["second"]),
        helper.make_node("QuantizeLinear", ["second", "coarse", "middle"], ["codes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "codes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, 14, 14])],
        [helper.make_tensor_value_info("codes", TensorProto.UINT8, [1, 64, 14, 14])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model, (random.integers(-100, 100, (1, 64, 14, 14)) / 64).astype(np.float32)


def test_dot_products_of_bytes_give_the_same_bits_there(tmp_path: Path) -> None:
    """Arm's SDOT in the emulator, this machine's instructions and onnxruntime: no code differs."""
    if reason := reason_to_skip("rpi5"):
        pytest.skip(reason)
    model, x = network_of_codes()
    for name in ("rpi5", "cpu"):
        made = driver.compile(model, target=name, output=tmp_path / name, inputs={"x": x}, tune=0)
        assert {kernel["template"] for kernel in made.decisions["kernels"]} & {"integer_conv", "block"}
        assert made.manifest.verification is not None
        assert [output["max_abs"] for output in made.manifest.verification["outputs"]] == [0.0]
    if shutil.which("aarch64-linux-gnu-objdump"):
        command = ["aarch64-linux-gnu-objdump", "-d", tmp_path / "rpi5" / "libmodel.so"]
        assert "\tsdot\t" in subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_tensor_cores_give_the_same_bits_in_an_emulation(tmp_path: Path) -> None:
    try:
        check_architecture("sm_87")
        compiler_for(targets.load("jetson"))
    except OptcError as error:
        pytest.skip(error.what)
    model, x = network_of_codes()
    made = driver.compile(model, target="jetson", output=tmp_path / "model", inputs={"x": x})
    assert "tensor_core" in {kernel["template"] for kernel in made.decisions["kernels"]}
    assert made.manifest.verification is not None
    assert [output["max_abs"] for output in made.manifest.verification["outputs"]] == [0.0]
    assert (made.path / "tensorrt" / "calibration.cache").exists()
