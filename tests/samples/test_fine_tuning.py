"""The fine-tuning sample: a few steps on its own 500 images make 2-bit weights better."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
sys.path.insert(0, str(SAMPLES))

import cifar10_data  # noqa: E402
import fine_tune_cifar10  # noqa: E402

from optc.quantization import FineTuning  # noqa: E402


def test_a_few_steps_bring_two_bit_weights_nearer_to_the_labels():
    with np.load(SAMPLES / "data" / "cifar10_test_500.npz") as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"].astype(np.int64))
    data = cifar10_data.Cifar10(images[:400], labels[:400], images[400:], labels[400:])
    calibration = images[:32].float().numpy()
    batches = [{"pixels": calibration[:16]}, {"pixels": calibration[16:]}]
    model = FineTuning.of(SAMPLES / "models" / "cifar10_resnet8.onnx", batches, "int2/uint8")

    def loss() -> float:
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(model(images[:100].float()), labels[:100]))

    before = loss()
    training = fine_tune_cifar10.Training(block_steps=4, steps=8, scale_steps=2, batch=16)
    fine_tune_cifar10.fine_tune(model, data, training)
    assert loss() < 0.8 * before
    assert 0.0 <= fine_tune_cifar10.accuracy(model, data.test_images, data.test_labels) <= 1.0
