"""The two trained sample models, compiled and run on real images, from Python and from C."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import optc

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
MODELS = sorted(SAMPLES.glob("models/*.onnx"))


@cache
def sample_images() -> tuple[np.ndarray, np.ndarray]:
    data = np.load(SAMPLES / "data" / "cifar10_test_500.npz")
    return data["images"].astype(np.float32), data["labels"]


@pytest.fixture(scope="module", params=MODELS, ids=lambda path: path.stem)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("samples") / request.param.stem
    optc.compile(request.param, shapes={"pixels": [1, 3, 32, 32]}, output=folder, tune=0, threads=1).close()
    return request.param, folder


def test_outputs_equal_onnxruntime_on_real_images(compiled: tuple[Path, Path]) -> None:
    path, folder = compiled
    images, _ = sample_images()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with optc.load(folder) as artifact:
        for image in images[:50]:
            expected = session.run(None, {"pixels": image[None]})[0]
            actual = artifact.run({"pixels": image[None]})["logits"]
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))


def test_accuracy_is_the_stated_one(compiled: tuple[Path, Path]) -> None:
    path, folder = compiled
    images, labels = sample_images()
    with optc.load(folder) as artifact:
        predicted = [int(artifact.run({"pixels": image[None]})["logits"].argmax()) for image in images]
    stated = json.loads((SAMPLES / "models" / "accuracy.json").read_text())[path.stem]["accuracy"]
    assert np.mean(np.array(predicted) == labels) == pytest.approx(stated, abs=0.04)


def test_all_of_it_runs_natively(compiled: tuple[Path, Path]) -> None:
    _, folder = compiled
    with optc.load(folder) as artifact:
        assert artifact.manifest.fallbacks == ()
        assert artifact.manifest.cost["native_flops"] == 1.0


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(compiled: tuple[Path, Path], threads: int) -> None:
    _, folder = compiled
    image = sample_images()[0][:1]
    with optc.load(folder, threads=1) as alone, optc.load(folder, threads=threads) as together:
        assert alone.run({"pixels": image})["logits"].tobytes() == together.run({"pixels": image})["logits"].tobytes()


def test_a_second_compile_gives_the_same_bytes(compiled: tuple[Path, Path], tmp_path: Path) -> None:
    path, folder = compiled
    again = tmp_path / "elsewhere"
    optc.compile(path, shapes={"pixels": [1, 3, 32, 32]}, output=again, tune=0, threads=1).close()
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: file.read_bytes() for file in folder.iterdir()
    }


@pytest.mark.skipif(shutil.which("cc") is None, reason="the C sample needs a C compiler")
def test_the_c_sample_prints_the_class_that_python_finds(compiled: tuple[Path, Path], tmp_path: Path) -> None:
    _, folder = compiled
    source = SAMPLES / "c" / "classify.c"
    program = tmp_path / "classify"
    library = folder / "libmodel.so"
    subprocess.run(
        ["cc", "-Wall", "-Werror", source, "-I", folder, library, f"-Wl,-rpath,{folder}", "-o", program], check=True
    )
    image = sample_images()[0][0]
    image.tofile(tmp_path / "image.f32")
    printed = subprocess.run([program, folder, tmp_path / "image.f32"], check=True, capture_output=True, text=True)
    with optc.load(folder) as artifact:
        best = int(artifact.run({"pixels": image[None]})["logits"].argmax())
    assert printed.stdout.startswith(f"class {best},")
    assert len(source.read_text().splitlines()) <= 40
