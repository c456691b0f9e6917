"""The same bytes wherever, whenever and in whatever language a model is compiled; whole artifacts when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import pytest
from kill_kit import killed_and_resumed
from onnx_kit import model, node, value

from optc import artifact
from optc.backends.tvm import tuning
from optc.backends.tvm.codegen import load_tvm
from optc.cli.app import run
from optc.driver.program import lowering


def network(scale: float = 1.0) -> onnx.ModelProto:
    """Two convolutions with a shared weight, a product, and an operation that falls back."""
    random = np.random.default_rng(0)
    weights = {
        "k": scale * random.standard_normal((8, 8, 3, 3)),
        "b": random.standard_normal(8),
        "w": random.standard_normal((8, 5)),
    }
    nodes = [
        node("Conv", "x k b", "a", "first", pads=[1, 1, 1, 1]),
        node("Relu", "a", "c"),
        node("Conv", "c k b", "d", "second", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("GlobalAveragePool", "d", "p"),
        node("Flatten", "p", "q"),
        node("MatMul", "q w", "r"),
        node("Softmax", "r", "y"),
        node("TopK", "r n", "v i"),
    ]
    arrays = {name: array.astype(np.float32) for name, array in weights.items()} | {"n": np.asarray([2], np.int64)}
    outputs = ["y", "v", value("i", None, onnx.TensorProto.INT64)]
    return model(nodes, [value("x", [1, 8, 12, 12])], outputs, arrays)


def samples() -> np.ndarray:
    """To calibrate `network` with."""
    return np.random.default_rng(1).standard_normal((12, 8, 12, 12)).astype(np.float32)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def elsewhere(folder: Path, cache: Path, *options: str) -> dict[str, bytes]:
    """The artifact that another process makes in another folder, time zone, language and order of hashes."""
    (folder / "temporary").mkdir(parents=True)
    source = folder / "network.onnx"
    source.write_bytes(network().SerializeToString())
    np.savez(folder / "samples.npz", x=samples())
    places = {"OPTC_CACHE_DIR": str(cache), "TMPDIR": str(folder / "temporary")}
    variables = {**os.environ, **places, "TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "77"}
    words = [str(folder / word) if (folder / word).is_file() else word for word in options]
    command = [sys.executable, "-m", "optc", "compile", str(source), "-o", str(folder / "out"), "--json", *words]
    subprocess.run(command, env=variables, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return files(folder / "out")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_without_measuring_the_bytes_are_the_same_on_empty_caches(work: Path, tmp_path: Path) -> None:
    (work / "network.onnx").write_bytes(network().SerializeToString())
    assert run(["compile", "--tune", "0", "-o", "here", "network.onnx"]) == 0
    found = files(work / "here")
    assert elsewhere(tmp_path / "some where" / "else", tmp_path / "other cache", "--tune", "0") == found
    assert str(tmp_path).encode() not in b"".join(found.values())


def test_with_calibration_the_bytes_are_the_same_on_empty_caches(work: Path, tmp_path: Path) -> None:
    (work / "network.onnx").write_bytes(network().SerializeToString())
    np.savez(work / "samples.npz", x=samples())
    options = ["--calib", "samples.npz", "--min-snr", "12", "--tune", "0"]
    assert run(["compile", *options, "-o", "here", "network.onnx"]) == 0
    found = files(work / "here")
    assert elsewhere(tmp_path / "some where" / "else", tmp_path / "other cache", *options) == found
    assert str(tmp_path).encode() not in b"".join(found.values())


def test_with_one_cache_a_calibrated_model_has_the_same_bytes(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "network.onnx").write_bytes(network().SerializeToString())
    np.savez(work / "samples.npz", x=samples())
    monkeypatch.setattr(lowering, "AUTOMATIC_BUDGET", 0.5)
    options = ["--calib", "samples.npz", "--min-snr", "12"]
    assert run(["compile", *options, "-o", "here", "network.onnx"]) == 0
    assert elsewhere(tmp_path / "there", tmp_path / "cache", *options) == files(work / "here")


def test_with_one_schedule_database_the_bytes_are_the_same(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "network.onnx").write_bytes(network().SerializeToString())
    # What this budget does not reach must not be measured by the second compile, which would choose otherwise then.
    monkeypatch.setattr(tuning, "TASK_SECONDS", 1.0)
    monkeypatch.setattr(lowering, "AUTOMATIC_BUDGET", 0.5)
    assert run(["compile", "network.onnx", "-o", "here"]) == 0
    assert elsewhere(tmp_path / "there", tmp_path / "cache") == files(work / "here")


def test_a_killed_compile_leaves_the_old_artifact_or_the_new_one(work: Path) -> None:
    for name, scale in (("old", 1.0), ("new", 2.0)):
        (work / f"{name}.onnx").write_bytes(network(scale).SerializeToString())
        assert run(["compile", f"{name}.onnx", "-o", name, "--tune", "0"]) == 0
    old, new = files(work / "old"), files(work / "new")
    seen = []

    def check() -> None:
        artifact.read(work / "old")
        found = files(work / "old")
        assert found in (old, new)
        seen.append(found == new)

    def compile_again() -> None:
        assert run(["compile", "new.onnx", "-o", "old", "--tune", "0"]) == 0

    killed = killed_and_resumed(compile_again, kills=6, longest=0.4, check=check)
    assert killed >= 1
    check()
    assert seen[-1]
    assert sorted(path.name for path in work.iterdir()) == ["new", "new.onnx", "old", "old.onnx"]


def test_killed_tuning_goes_on_and_damages_nothing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "net.onnx").write_bytes(network().SerializeToString())

    def tune() -> None:
        assert run(["tune", "net.onnx", "--budget", "5s", "--json"]) == 0

    def compile_it() -> None:
        assert run(["compile", "net.onnx", "-o", "out", "--no-verify"]) == 0

    killed_and_resumed(tune, kills=3, longest=1.5)
    killed_and_resumed(compile_it, kills=2, longest=0.8)
    artifact.read(work / "out")
    measured = files(work / "out")
    assert run(["compile", "net.onnx", "-o", "out", "--no-verify"]) == 0
    assert files(work / "out") == measured
    assert sorted(path.name for path in work.iterdir()) == ["net.onnx", "out"]


def test_eight_compiles_share_a_cache(work: Path, tmp_path: Path) -> None:
    load_tvm()  # once, for all of them
    (work / "net.onnx").write_bytes(network().SerializeToString())

    def work_of(number: int) -> int:
        with open(tmp_path / f"log{number}", "w") as log, redirect_stdout(log), redirect_stderr(log):
            return run(["compile", "net.onnx", "-v", "--tune", "0", "--no-verify", "--json", "-o", f"out{number}"])

    children = []
    for number in range(8):
        children.append(os.fork())
        if children[-1] == 0:
            os._exit(work_of(number))
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    lines = [line for number in range(8) for line in (tmp_path / f"log{number}").read_text().splitlines()]
    compilations = [line.split()[-1] for line in lines if "compiled kernel" in line]
    kernels = list((tmp_path / "cache" / "kernels").glob("??/*"))
    assert len(compilations) == len(set(compilations)) == len(kernels) > 3
    assert all(files(work / f"out{number}") == files(work / "out0") for number in range(8))
