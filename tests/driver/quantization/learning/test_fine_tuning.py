"""A few steps of fine-tuning: a PyTorch network becomes a quantized model that learns, and is written as it learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from optc.ops.onnx_export import to_onnx_model  # noqa: E402
from optc.quantization import FineTuning, Recipe  # noqa: E402

nn = torch.nn


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3, stride=2))
    return nn.Sequential(*body, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def exported(images: torch.Tensor) -> bytes:
    program = torch.export.export(network(), (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    tuned = FineTuning.of(program, batches(images), "int8")
    torch.testing.assert_close(tuned.exact(images), network()(images), rtol=1e-3, atol=1e-4)
    return to_onnx_model(tuned.quantizer.module).SerializeToString()


def batches(images: torch.Tensor) -> list[dict[str, np.ndarray]]:
    return [{"input": part.numpy()} for part in images.split(16)]


@pytest.mark.parametrize("scheme", ["int2/uint8", "int4", "fp4"])
def test_it_learns_and_is_written_as_it_learned(
    scheme: str, exported: bytes, images: torch.Tensor, tmp_path: Path
) -> None:
    tuned = FineTuning.of(exported, batches(images), scheme)
    wanted = 1.5 * tuned.exact(images) + 0.1
    losses = []
    optimizer = torch.optim.Adam(tuned.groups(weights=3e-3, scales=3e-3, biases=3e-3))
    for _ in range(40):
        loss = nn.functional.mse_loss(tuned(images), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    tuned.write(tmp_path / "tuned.onnx")
    options = onnxruntime.SessionOptions()
    # With more, onnxruntime 1.31 refuses a Clip before a QuantizeLinear to 8-bit floats.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(tmp_path / "tuned.onnx"), options)
    written = session.run(None, {"input": images.numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(written, tuned(images).numpy(), atol=0.05 * float(wanted.std()))


def test_blocks_learn_before_the_whole(exported: bytes, images: torch.Tensor) -> None:
    tuned = FineTuning.of(exported, batches(images), "int2/uint8")
    exact = tuned.exact(images)

    def loss(wanted: torch.Tensor) -> float:
        with torch.no_grad():
            return float(nn.functional.mse_loss(tuned(images), wanted))

    before = loss(exact)
    tuned.learn_blocks(Recipe(steps=60, end_steps=0, rate=3e-3))
    assert loss(exact) < 0.8 * before
    # Step sizes and biases alone learn what the float network does not give.
    wanted = 1.2 * exact + 0.05
    before = loss(wanted)
    optimizer = torch.optim.Adam(tuned.groups(weights=0, scales=1e-2, biases=1e-2))
    weights = [layer.weight.free.detach().clone() for layer in tuned.twin.layers]
    for _ in range(30):
        error = nn.functional.mse_loss(tuned(images), wanted)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert loss(wanted) < 0.5 * before
    assert all(torch.equal(old, layer.weight.free) for old, layer in zip(weights, tuned.twin.layers, strict=True))
