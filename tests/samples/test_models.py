"""The committed sample models and images are what samples/README.md says, judged by onnxruntime."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
NAMES = ("cifar10_mobilenet", "cifar10_resnet8")
REPORT = json.loads((SAMPLES / "models" / "accuracy.json").read_text())


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    data = np.load(SAMPLES / "data" / "cifar10_test_500.npz")
    return data["images"], data["labels"]


def test_sample_images_are_50_of_each_class(sample: tuple[np.ndarray, np.ndarray]):
    images, labels = sample
    assert images.shape == (500, 3, 32, 32) and images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [50] * 10
    assert len({image.tobytes() for image in images}) == 500


def test_class_names_are_those_in_the_models():
    classes = (SAMPLES / "models" / "classes.txt").read_text().split()
    assert len(set(classes)) == 10
    for name in NAMES:
        properties = {p.key: p.value for p in onnx.load(SAMPLES / "models" / f"{name}.onnx").metadata_props}
        assert properties["classes"].split(",") == classes


@pytest.mark.parametrize("name", NAMES)
def test_model_is_small_and_the_one_measured(name: str):
    data = (SAMPLES / "models" / f"{name}.onnx").read_bytes()
    assert len(data) <= 1_000_000
    assert REPORT[name]["bytes"] == len(data)
    assert REPORT[name]["sha256"] == hashlib.sha256(data).hexdigest()
    assert REPORT[name]["test_images"] == 10_000
    assert REPORT[name]["accuracy"] == REPORT[name]["correct"] / 10_000


@pytest.mark.parametrize("name", NAMES)
def test_model_reaches_its_stated_accuracy_on_the_sample(name: str, sample: tuple[np.ndarray, np.ndarray]):
    images, labels = sample
    session = onnxruntime.InferenceSession(SAMPLES / "models" / f"{name}.onnx")
    logits = session.run(["logits"], {"pixels": images.astype(np.float32)})[0]
    assert abs((logits.argmax(1) == labels).mean() - REPORT[name]["accuracy"]) <= 0.03


@pytest.mark.parametrize("name", NAMES)
def test_batch_is_symbolic_and_images_do_not_influence_each_other(name: str, sample: tuple[np.ndarray, np.ndarray]):
    session = onnxruntime.InferenceSession(SAMPLES / "models" / f"{name}.onnx")
    assert [(v.name, v.shape) for v in session.get_inputs()] == [("pixels", ["batch", 3, 32, 32])]
    pixels = sample[0][:3].astype(np.float32)
    together = session.run(["logits"], {"pixels": pixels})[0]
    alone = np.concatenate([session.run(["logits"], {"pixels": pixels[i : i + 1]})[0] for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_readme_states_the_measured_accuracy(name: str):
    readme = (SAMPLES / "README.md").read_text()
    (row,) = [line for line in readme.splitlines() if f"`models/{name}.onnx`" in line]
    assert f"{REPORT[name]['accuracy']:.2%}" in row and f"{REPORT[name]['parameters']:,}" in row
