"""The self-compression sample: a few steps on its own 500 images take bits away, and the file is what was trained."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
sys.path.insert(0, str(SAMPLES))

import cifar10_data  # noqa: E402
import self_compress_cifar10  # noqa: E402

from optc.quantization import SelfCompression  # noqa: E402


def test_a_few_steps_take_bits_away(tmp_path: Path) -> None:
    with np.load(SAMPLES / "data" / "cifar10_test_500.npz") as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"].astype(np.int64))
    data = cifar10_data.Cifar10(images[:400], labels[:400], images[400:], labels[400:])
    calibration = images[:16].float().numpy()
    model = SelfCompression.of(SAMPLES / "models" / "cifar10_resnet8.onnx", [{"pixels": calibration}])
    self_compress_cifar10.compress(model, data, price=2.0, steps=9, batch=8)
    # Bits fall by at most BITS_RATE a step, in PRICED of them.
    fallen = 8.0 - float(model.price().detach())
    assert 0.3 * 6 * self_compress_cifar10.BITS_RATE < fallen <= 6 * self_compress_cifar10.BITS_RATE + 1e-4
    model.write(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    found = session.run(None, {"pixels": images[:20].float().numpy()})[0].argmax(1)
    with torch.no_grad():
        assert (found == model(images[:20].float()).argmax(1).numpy()).mean() >= 0.9
