"""What `compile --calib` asks of the search where the native artifact loses more than the model in QDQ form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_kit import model, node, value

from optc.driver.options import CompileOptions
from optc.driver.quantization.bound import Bound, Quality
from optc.driver.quantization.deploy import Deployment
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner

LESS = 10.0
"""Decibels that artifacts of these tests lack."""


@dataclass
class Noisy(Deployment):
    """Writes nothing, and sees artifacts that keep LESS decibels than QDQ form."""

    def _native(self, names: Collection[str], place: Path) -> Quality:
        quality = self._judge(Runner(self.quantizer.write(self.plan, list(names))).run)
        return replace(quality, snr_db=quality.snr_db - LESS)

    def _latency(self, names: Collection[str], place: Path) -> dict[str, Any]:
        return {}

    def _compile(
        self, names: Collection[str], place: Path, folder: Path, record: Mapping[str, Any] | None = None
    ) -> Path:
        return folder


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    """Of two products in a row; the second alone loses far more."""
    random = np.random.default_rng(0)
    spread = random.normal(size=(64, 64))
    spread[:, 0] *= 300.0  # one range for all inputs of the second product
    weights = {"a": (spread / 8).astype(np.float32), "b": (random.normal(size=(64, 64)) / 8).astype(np.float32)}
    nodes = [node("MatMul", "x a", "h", "first"), node("MatMul", "h b", "y", "second")]
    proto = model(nodes, [value("x", [16, 64])], [value("y", [16, 64])], weights, opset=18)
    samples = [{"x": random.normal(size=(16, 64)).astype(np.float32)} for _ in range(4)]
    return Quantizer.of(proto, samples)


def deployed(quantizer: Quantizer, bound: float) -> dict[str, Any]:
    options = CompileOptions(target="rpi5", threads=1)
    plan = quantizer.plan("int8")
    return Noisy(quantizer, plan, options, Bound(quantizer.data, snr=bound), "net.onnx").run(Path("unused"))


def precisions(record: dict[str, Any]) -> list[str]:
    return [layer["precision"] for layer in record["layers"]]


def test_what_the_artifact_lacks_is_asked_of_the_search(quantizer: Quantizer) -> None:
    free = deployed(quantizer, 1.0)
    assert precisions(free) == ["int8", "int8"] and free["met"]
    both = free["quality"]["snr_db"]
    best = max(layer["snr_alone_db"] for layer in free["layers"])
    assert best > both + LESS + 2.0
    # QDQ form keeps this with both layers, the artifact does not.
    record = deployed(quantizer, both + 1.0)
    assert record["met"] and sorted(precisions(record)) == ["float", "int8"]
    assert (
        record["quality"]["snr_db"] == pytest.approx(best - LESS, abs=0.1) and record["quality"]["snr_db"] > both + 1.0
    )
    bases = [attempt["basis"] for attempt in record["tries"] if not attempt["keeps"] and not attempt["in_float"]]
    assert bases == ["QDQ form"]


def test_what_no_artifact_keeps_ends_with_the_one_that_loses_least(quantizer: Quantizer) -> None:
    best = max(layer["snr_alone_db"] for layer in deployed(quantizer, 1.0)["layers"])
    record = deployed(quantizer, best - LESS / 2)
    assert not record["met"] and record["quantized"] == 1
    assert record["quality"]["snr_db"] == pytest.approx(best - LESS, abs=0.1)
    assert any(layer["reason"].startswith(f"nothing keeps {best - LESS / 2:g} dB") for layer in record["layers"])
