"""Bits that channels learn, down to none: the price, the exported model without dead channels, and what stays exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_kit import model, node, value

torch = pytest.importorskip("torch")

from optc.driver.quantization.learning.learned_bits import LearnedBits  # noqa: E402
from optc.passes.quantization.formats import IntegerFormat  # noqa: E402
from optc.passes.quantization.weights import QuantizedWeight  # noqa: E402
from optc.quantization import FineTuning, SelfCompression  # noqa: E402

nn = torch.nn


def proto() -> onnx.ModelProto:
    """A residual network: channels of the stem and of the third layer are added, those of the second lie alone."""
    random = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    held = {
        "w1": weights(8, 3, 3, 3), "b1": weights(8), "w2": weights(12, 8, 3, 3), "b2": weights(12),
        "w3": weights(8, 12, 1, 1), "b3": weights(8), "w4": weights(4, 8), "b4": weights(4), "axes": np.array([2, 3]),
    }  # fmt: skip
    nodes = [
        node("Conv", "x w1 b1", "c1", "stem", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", "inner", pads=[1, 1, 1, 1]),
        node("HardSwish", "c2", "r2"),
        node("Conv", "r2 w3 b3", "c3", "outer"),
        node("Add", "c3 r1", "s"),
        node("ReduceMean", "s axes", "g", keepdims=0),
        node("Gemm", "g w4 b4", "y", "head", transB=1),
    ]
    return model(nodes, [value("x", ["n", 3, 8, 8])], [value("y", ["n", 4])], held, opset=18)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def compressing(images: torch.Tensor) -> SelfCompression:
    return SelfCompression.of(proto(), [{"x": part.numpy()} for part in images.split(16)])


def shapes(path: Path) -> dict[str, list[int]]:
    """Of the weights of a written model, by layer."""
    found = {tensor.name: list(tensor.dims) for tensor in onnx.load(path).graph.initializer}
    return {name.removesuffix(".weight.codes"): shape for name, shape in found.items() if name.endswith("weight.codes")}


def outputs(path: Path, images: torch.Tensor) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    found: np.ndarray = onnxruntime.InferenceSession(str(path), options).run(None, {"x": images.numpy()})[0]
    return found


def assert_same(found: np.ndarray, wanted: np.ndarray, *, coarse: bool = False) -> None:
    """Equal, but where a sum in another order rounds to the next code; `coarse`: and but for biases, which are whole
    numbers of units that are large where bits are few."""
    np.testing.assert_allclose(found, wanted, atol=0.05 * float(wanted.std()))
    assert coarse or np.isclose(found, wanted, rtol=1e-4, atol=1e-5).mean() > 0.9


@pytest.mark.parametrize("bits", [8.0, 5.3, 2.0, 1.0, 0.4, 0.0, -1.0])
def test_numbers_lie_within_the_bits(bits: float) -> None:
    original = np.random.default_rng(0).normal(size=(2, 200))
    start = QuantizedWeight(IntegerFormat(8, symmetric=True), original, np.array([0.02, 0.02], np.float32), 0, 1)
    weight = LearnedBits(original, start)
    with torch.no_grad():
        weight.depth[0] = bits
    numbers = weight.learned.numbers
    kept = min(max(bits, 0.0), 8.0)
    unit = 0.02 * 2 ** (8 - kept)
    wanted = np.rint(np.clip(original[0] / unit, max(-(2 ** (kept - 1)), -127), 2 ** (kept - 1) - 1)) + 0.0
    np.testing.assert_array_equal(numbers[0], wanted)
    np.testing.assert_allclose(weight.learned.values[0], wanted * unit, rtol=1e-5)
    assert bool(weight.alive[0]) == (bits > 0) == bool(np.any(numbers[0]))
    np.testing.assert_array_equal(weight().detach().numpy(), weight.learned.values)


def test_a_price_on_bits_takes_channels_out(images: torch.Tensor, tmp_path: Path) -> None:
    model = compressing(images)
    assert float(model.price().detach()) == pytest.approx(8.0)
    model.write(tmp_path / "before.onnx")
    assert shapes(tmp_path / "before.onnx") == {
        "stem": [8, 3, 3, 3], "inner": [12, 8, 3, 3], "outer": [8, 12, 1, 1], "head": [8, 4]
    }  # fmt: skip
    wanted = model.exact(images)
    optimizer = torch.optim.Adam(model.groups(weights=3e-3, scales=3e-3, biases=3e-3, bits=0.2))
    for _ in range(120):
        error = nn.functional.mse_loss(model(images), wanted) / wanted.var()
        loss = error + 0.05 * model.price()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bits = model.bits
    dead = {name: np.flatnonzero(each <= 0.0) for name, each in bits.items()}
    assert float(model.price().detach()) < 5.0 and len(dead["inner"]) > 0 and float(error.detach()) < 0.5
    model.write(tmp_path / "after.onnx")
    left = shapes(tmp_path / "after.onnx")
    inner = max(1, 12 - len(dead["inner"]))
    both = 8 - len(set(dead["stem"]) & set(dead["outer"]))
    assert left == {
        "stem": [both, 3, 3, 3],
        "inner": [inner, both, 3, 3],
        "outer": [both, inner, 1, 1],
        "head": [both, 4],
    }
    with torch.no_grad():
        assert_same(outputs(tmp_path / "after.onnx", images), model(images).numpy(), coarse=True)


def test_a_sum_keeps_the_channels_that_one_side_gives(images: torch.Tensor, tmp_path: Path) -> None:
    model = compressing(images)
    with torch.no_grad():
        stem, _, outer, _ = (layer.weight.depth for layer in model.twin.layers)
        stem[[1, 2, 5]] = 0.0
        outer[[2, 5, 7]] = -0.5
    full = 8.0 * sum(layer.weight.values.numel() for layer in model.twin.layers)
    # Three of eight channels of stem and outer cost nothing; inner and head do not read the two that nobody gives.
    less = 3 / 8 * (8 * 27 + 8 * 12) + 2 / 8 * (12 * 72 + 4 * 8)
    assert float(model.price().detach()) == pytest.approx(8.0 - 8.0 * less / (full / 8.0), rel=1e-6)
    model.write(tmp_path / "m.onnx")
    assert shapes(tmp_path / "m.onnx") == {
        "stem": [6, 3, 3, 3], "inner": [12, 6, 3, 3], "outer": [6, 12, 1, 1], "head": [6, 4]
    }  # fmt: skip
    with torch.no_grad():
        assert_same(outputs(tmp_path / "m.onnx", images), model(images).numpy())


def test_a_layer_without_bits_keeps_one_channel(images: torch.Tensor, tmp_path: Path) -> None:
    model = compressing(images)
    with torch.no_grad():
        model.twin.layers[1].weight.depth[:] = 0.0
    model.write(tmp_path / "m.onnx")
    assert shapes(tmp_path / "m.onnx")["inner"] == [1, 8, 3, 3]
    with torch.no_grad():
        assert_same(outputs(tmp_path / "m.onnx", images), model(images).numpy())


def test_weights_are_drawn_to_numbers_where_outputs_feel_it(images: torch.Tensor) -> None:
    tuned = FineTuning.of(proto(), [{"x": part.numpy()} for part in images.split(16)], "int4")
    before = float(tuned.perturbation().detach())
    wanted = tuned.exact(images)

    def noise() -> float:
        with torch.no_grad():
            exact = tuned.twin.compute(
                tuned.twin.operations, {tuned.twin.inputs[0]: images}, tuned.twin.outputs, quantized=False
            )[tuned.twin.outputs[0]]
            tuned.twin.activations.requires_grad_(False)
            return float(((tuned(images) - exact) ** 2).sum() / (wanted**2).sum())

    # The prediction is of the order of what rounding weights to four bits does (activations are in eight).
    assert 0.2 < before / noise() < 5.0
    optimizer = torch.optim.Adam(tuned.groups(weights=1e-3, scales=0, biases=0))
    for _ in range(40):
        loss = tuned.perturbation()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(tuned.perturbation().detach()) < 0.3 * before
