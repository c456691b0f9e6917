"""Models compiled for GPUs that are not here: what runs in the emulation, and what the artifact says and holds."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from optc import artifact, driver, targets
from optc.artifact.writing import LIBRARY
from optc.backends.cuda.kernel import CudaKernel, Launch
from optc.backends.cuda.toolkit import check_architecture, find_toolkit
from optc.backends.interface import Option, Selection
from optc.driver.verification.gpu_emulation import emulated_command
from optc.errors import OptcError, UsageError
from optc.runtime import load
from optc.runtime.emulated import EmulatedArtifact
from optc.toolchain import find_compiler

SAMPLE = Path(__file__).parents[3] / "samples" / "models" / "cifar10_resnet8.onnx"


def reason_to_skip(name: str) -> str | None:
    from optc.targets.foreign import compiler_for

    try:
        check_architecture(str(targets.load(name).llvm["arch"]))
        compiler_for(targets.load(name))
    except OptcError as error:
        return error.what
    return None if shutil.which("c++") else "no C++ compiler"


@pytest.fixture(scope="module", params=["jetson", "cuda"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> driver.Artifact:
    if reason := reason_to_skip(request.param):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("gpu") / request.param
    return driver.compile(SAMPLE, target=request.param, dims={"batch": 1}, output=folder, threads=1)


def test_the_emulated_numbers_are_those_of_the_model(compiled: driver.Artifact) -> None:
    verification = compiled.manifest.verification
    assert verification is not None and verification["passed"]
    assert verification.get("emulator") == (None if compiled.runs_here else "an emulation of the GPU")
    assert 0 < verification["outputs"][0]["relative"] < 1e-5


def test_the_manifest_says_what_it_needs_and_takes(compiled: driver.Artifact) -> None:
    target, cost = targets.load(compiled.manifest.target), compiled.manifest.cost
    needed = compiled.manifest.host
    assert needed.architecture == ("aarch64" if target.name == "jetson" else "x86_64")
    codes = list(target.architectures) or ["sm_87"]
    assert list(needed.gpu_code) == cost["gpu"]["code"] == [*codes, str(target.llvm["arch"]).replace("sm", "compute")]
    assert cost["gpu"]["spill_bytes"] == 0 and 0 < cost["gpu"]["occupancy"] <= 1
    program = compiled.manifest.program
    interface = 4 * (3 * 32 * 32 + 10)
    assert cost["gpu"]["memory_bytes"] == program["arena_bytes"] + program["weights_bytes"] + interface
    assert cost["predicted_joules"] > 0
    assert list(cost["modes"]) == sorted(target.modes)
    if modes := cost["modes"]:
        assert modes["MAXN"]["predicted_seconds"] == pytest.approx(cost["predicted_seconds"])
        assert modes["15W"]["predicted_seconds"] > modes["30W"]["predicted_seconds"] > cost["predicted_seconds"]


def test_the_plan_has_every_launch(compiled: driver.Artifact) -> None:
    launches = compiled.decisions["launches"]
    assert launches.keys() == {kernel["symbol"] for kernel in compiled.decisions["kernels"]}
    functions = [each for kernel in launches.values() for each in kernel]
    assert len(functions) == compiled.manifest.cost["gpu"]["functions"]
    for each in functions:
        assert len(each["grid"]) == len(each["block"]) == 3 and 0 < each["registers"] <= 255
        assert 1 <= np.prod(each["block"]) <= 1024 and each["limiter"] and each["spill_bytes"] == 0


def test_nothing_was_measured(compiled: driver.Artifact) -> None:
    kernels = compiled.decisions["kernels"]
    assert kernels and all(kernel["measured_seconds"] is None and kernel["timed"] == 0 for kernel in kernels)


def test_the_library_needs_no_cuda_to_be_loaded(compiled: driver.Artifact) -> None:
    if not shutil.which("readelf"):
        pytest.skip("no readelf")
    command = ["readelf", "-W", "-d", compiled.path / LIBRARY]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    needed = {name for name in re.findall(r"NEEDED.*\[(.*)\]", text) if not name.startswith("ld-linux")}
    assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"}


def test_the_sources_compile_elsewhere(compiled: driver.Artifact, tmp_path: Path) -> None:
    """`kernels/` is all that a compiler needs to make the same code for another GPU."""
    toolkit = find_toolkit()
    folder = compiled.path / "kernels"
    options = ["-std=c++17", "-w", "-arch=compute_90", "-ptx", f"-I{folder}", "-o", str(tmp_path / "out.ptx")]
    subprocess.run([toolkit.nvcc, *options, str(folder / "kernels.cu")], check=True, capture_output=True)
    entries = set(re.findall(r"\.entry (\w+)", (tmp_path / "out.ptx").read_text()))
    assert entries == {each["function"] for kernel in compiled.decisions["launches"].values() for each in kernel}


def test_the_package_for_tensorrt_computes_the_same(compiled: driver.Artifact) -> None:
    read = artifact.read(compiled.path, check_host=False)
    names = {"README.md", "build.sh", "model.onnx", "providers.json"}
    assert {name for name in read.manifest.files if name.startswith("tensorrt/")} == {f"tensorrt/{n}" for n in names}
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    found, expected = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"pixels": x})[0]
        for path in (compiled.path / "tensorrt" / "model.onnx", SAMPLE)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_machine_without_the_gpu_refuses_to_run_it(compiled: driver.Artifact) -> None:
    if compiled.runs_here:
        pytest.skip("this machine has the GPU")
    with pytest.raises(OptcError) as failure:
        load(compiled.path)
    jetson = compiled.manifest.target == "jetson"
    assert failure.value.what == (
        "the artifact was compiled for another kind of machine" if jetson
        else "the artifact needs a GPU that this machine lacks"
    )  # fmt: skip


def test_a_damaged_package_is_named(compiled: driver.Artifact, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(compiled.path, folder)
    script = folder / "tensorrt" / "build.sh"
    script.write_text(script.read_text().replace("fp16", "fp32"))
    with pytest.raises(OptcError) as failure:
        artifact.read(folder, check_host=False)
    assert failure.value.why == "the checksum of tensorrt/build.sh does not match: the file was changed"
    shutil.rmtree(folder / "tensorrt")
    (folder / "tensorrt").symlink_to(compiled.path / "tensorrt")
    with pytest.raises(OptcError) as failure:
        artifact.read(folder, check_host=False)
    assert failure.value.why == "tensorrt is not a regular folder"


def test_a_gpu_that_the_compiler_does_not_know(tmp_path: Path) -> None:
    if reason := reason_to_skip("jetson"):
        pytest.skip(reason)
    if "sm_53" in find_toolkit().architectures:
        pytest.skip("this CUDA compiles for it")
    with pytest.raises(UsageError) as failure:
        driver.compile(SAMPLE, target="jetson-nano", dims={"batch": 1}, output=tmp_path / "out")
    assert failure.value.what == f"CUDA {find_toolkit().version} does not compile for sm_53"
    assert failure.value.hint == "CUDA 12 was the last release for sm_53: set CUDA_HOME to one"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # the first time the C++ library for aarch64 is compiled
def test_the_library_of_the_board_runs_under_an_emulator_of_its_processor(
    compiled: driver.Artifact, tmp_path: Path
) -> None:
    """libmodel.so of the artifact as it is, on emulated aarch64, with the emulated driver for that."""
    pytest.importorskip("ziglang")
    sysroot = Path("/usr/aarch64-linux-gnu")
    if compiled.manifest.target != "jetson" or not shutil.which("qemu-aarch64-static") or not sysroot.exists():
        pytest.skip("no aarch64 emulator with a C library, or not for aarch64")
    from emulated_gpu_kit import run_on_aarch64

    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    found = run_on_aarch64(compiled.path, sysroot, tmp_path, x, 10)
    expected = onnxruntime.InferenceSession(SAMPLE, providers=["CPUExecutionProvider"]).run(None, {"pixels": x})[0]
    np.testing.assert_allclose(found.reshape(1, 10), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_a_gpu_computes_the_same_in_every_run(compiled: driver.Artifact) -> None:
    """The first run launches the kernels, later ones their graph."""
    if not compiled.runs_here:
        pytest.skip("this machine has no GPU that the artifact is for")
    session = onnxruntime.InferenceSession(SAMPLE, providers=["CPUExecutionProvider"])
    with load(compiled.path) as model:
        for seed in range(4):
            x = np.random.default_rng(seed).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
            found = model.run({"pixels": x})["logits"]
            np.testing.assert_allclose(found, session.run(None, {"pixels": x})[0], rtol=1e-3, atol=1e-3)
        assert sum(time.seconds for time in model.profile({"pixels": x})) > 0


def test_every_gpu_gets_code_that_fits_it(compiled: driver.Artifact, tmp_path: Path) -> None:
    """Cubins for each of the listed GPUs, PTX for later ones, and a refusal for earlier ones."""
    if compiled.manifest.target != "cuda":
        pytest.skip("the artifact is for one GPU and another processor")
    launches = [
        Launch(each["function"], tuple(each["grid"]), tuple(each["block"]), each["dynamic_shared_bytes"], ())
        for kernel in compiled.decisions["launches"].values()
        for each in kernel
    ]
    option = Option("any", (), 0.0)
    source = (compiled.path / "kernels" / "kernels.cu").read_text()
    kernel = CudaKernel("all", b"", Selection(option, None, option, 1, 0, ""), source=source, launches=tuple(launches))
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    expected = onnxruntime.InferenceSession(SAMPLE, providers=["CPUExecutionProvider"]).run(None, {"pixels": x})[0]
    command = emulated_command(tmp_path, compiled.path / LIBRARY, [kernel], find_compiler(), "sm_80")
    at = next(index for index, word in enumerate(command) if word.startswith("OPTC_EMULATED_SM="))
    for sm in (80, 86, 87, 89, 90, 120):  # a system on a chip, 87, takes no cubin of others, but their PTX
        command[at] = f"OPTC_EMULATED_SM={sm}"
        found = EmulatedArtifact(compiled.path, command).run({"pixels": x})["logits"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    command.insert(1, "OPTC_EMULATED_CUDA=11080")  # a driver that reads no cubin of CUDA 13 compiles the PTX
    command[at + 1] = "OPTC_EMULATED_SM=86"
    found = EmulatedArtifact(compiled.path, command).run({"pixels": x})["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    command[at + 1] = "OPTC_EMULATED_SM=75"
    with pytest.raises(OptcError, match="is sm_75, and the library has code for: sm_80, sm_86, sm_89, sm_90, PTX"):
        EmulatedArtifact(compiled.path, command).run({"pixels": x})
