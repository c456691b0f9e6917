"""The committed bottleneck is small, sends int8 codes, and classifies about as well as the network that taught it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
MODEL = SAMPLES / "models" / "cifar10_resnet8_bottleneck.onnx"


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Of the first 250 sample images: whether each is classified rightly, and the codes."""
    model = onnx.load(MODEL)
    model.graph.output.append(onnx.helper.make_tensor_value_info("codes", onnx.TensorProto.INT8, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    data = np.load(SAMPLES / "data" / "cifar10_test_500.npz")
    found = [session.run(None, {"pixels": image[None].astype(np.float32)}) for image in data["images"][:250]]
    right = np.array([scores.argmax() for scores, _ in found]) == data["labels"][:250]
    return right, np.concatenate([codes for _, codes in found])


def test_the_model_is_small_and_classifies(answers: tuple[np.ndarray, np.ndarray]) -> None:
    assert MODEL.stat().st_size < 1_000_000
    assert answers[0].mean() > 0.8


def test_codes_need_few_bytes(answers: tuple[np.ndarray, np.ndarray]) -> None:
    codes = answers[1]
    assert codes.dtype == np.int8
    assert codes.shape == (250, 10, 8, 8)
    shares = [np.unique(codes[:, channel], return_counts=True)[1] / (250 * 64) for channel in range(10)]
    entropy = sum(-(share * np.log2(share)).sum() for share in shares) * 64 / 8
    assert entropy < 190  # bytes an image; 3072 of pixels
