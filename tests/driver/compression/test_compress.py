"""Compression to a ratio on a small network: the size is kept, training takes errors back, decoding is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

from optc.driver.compression.archive import unpack
from optc.driver.compression.compress import compress
from optc.driver.quantization.data import Data
from optc.driver.quantization.running import Runner
from optc.driver.quantization.sensitivity import Outputs, decibels
from optc.errors import LimitError, UsageError
from optc.frontends import load_model

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    weights = {
        "a": random.laplace(size=(24, 96)).astype(np.float32) / 5,
        "b": random.laplace(size=(96, 96)).astype(np.float32) / 10,
        "c": random.laplace(size=(96, 12)).astype(np.float32) / 10,
    }
    nodes = [node("MatMul", "x a", "p"), node("Relu", "p", "q"), node("MatMul", "q b", "r"), node("Relu", "r", "s")]
    made = model([*nodes, node("MatMul", "s c", "y")], [value("x", ["n", 24])], ["y"], weights)
    path = tmp_path_factory.mktemp("network") / "m.onnx"
    onnx.save(made, path)
    return path


def samples(count: int, seed: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [{"x": random.normal(size=(32, 24)).astype(np.float32)} for _ in range(count)]


def snr(path: Path, became: onnx.ModelProto) -> float:
    """On samples that nothing was trained on."""
    module = load_model(path).module
    fresh = Data(samples(8, 99), module.main.inputs)
    return decibels(Outputs.of(module, fresh, None).noise_of(load_model(became).module))


def test_the_size_is_kept_and_training_pays(network: Path) -> None:
    rounded = compress(network, 12.0, samples(20, 1), epochs=0)
    trained = compress(network, 12.0, samples(20, 1), epochs=10)
    for found in (rounded, trained):
        assert found.ratio >= 12.0
        assert unpack(found.content, "m") == found.model
        Runner(load_model(found.model).module)
    assert rounded.ratio < 12.8
    assert snr(network, trained.model) > snr(network, rounded.model) + 0.5
    assert trained.zeros > 0.2 and trained.bits < 32.0 / 11.0


def test_ratios_that_cannot_be(network: Path) -> None:
    with pytest.raises(LimitError, match="the ratio cannot be reached"):
        compress(network, 1000.0, samples(2, 1), epochs=0)
    with pytest.raises(UsageError, match="a ratio must be above 1"):
        compress(network, 0.5, samples(2, 1))
