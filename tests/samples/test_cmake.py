"""The CMake sample: configured, built, tested, packaged, and built again only when the model changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from optc.cli.app import run

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("ninja")), reason="needs CMake and Ninja")


def test_the_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cmake-dir"]) == 0
    package = capsys.readouterr().out.strip()
    shutil.copytree(ROOT / "samples" / "cmake", tmp_path / "cmake")
    (tmp_path / "models").mkdir()
    model = tmp_path / "models" / "cifar10_resnet8.onnx"
    shutil.copy(ROOT / "samples" / "models" / model.name, model)
    command = tmp_path / "optc"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m optc "$@"\n')
    command.chmod(0o755)
    build = tmp_path / "build"

    def done(*words: str, folder: Path = tmp_path) -> str:
        environment = {**os.environ, "OPTC_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        process = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    options = [f"-Doptc_DIR={package}", f"-DOPTC_EXECUTABLE={command}"]
    done("cmake", "-G", "Ninja", "-S", "cmake", "-B", "build", *options)
    assert "Compiling the model resnet8" in done("cmake", "--build", "build")
    assert "no work to do" in done("cmake", "--build", "build")
    os.utime(model)
    assert "Compiling the model resnet8" in done("cmake", "--build", "build")
    assert "100% tests passed" in done("ctest", "--test-dir", "build")
    done("cpack", folder=build)
    with tarfile.open(build / "classify.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    shutil.rmtree(build)
    assert done(str(tmp_path / "unpacked" / "classify" / "bin" / "classify"), "--grey").startswith("class ")
