"""The page about accuracy after quantization: its figures, and the quantizers that it compares."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.quantization import accuracy, key_of, report, table  # noqa: E402
from benchmarks.quantizers import QUANTIZERS, Task  # noqa: E402


def test_the_table_has_the_mean_the_worst_and_the_loss() -> None:
    name = "optc int8"
    record = {
        key_of("resnet8", "fp32", 3, "onnxruntime"): {"accuracy": 86.5},
        key_of("resnet8", name, 0, "onnxruntime"): {"accuracy": 86.4, "latency": 0.25},
        key_of("resnet8", name, 1, "onnxruntime"): {"accuracy": 86.2},
        key_of("resnet8", name, 0, "optc"): {"accuracy": 12.0},
    }
    lines = table(record, "onnxruntime")
    assert lines[2] == "| fp32 | 86.50 |  |  |  |  |  |  |  |"
    assert lines[3] == "| optc int8 | 86.30 (2) | 86.20 | +0.20 | 0.250 |  |  |  |  |"
    transformers = {
        "minilm_l6|int4 weights, GPTQ": {"snr": 20.04, "cosine": 0.99},
        "minilm_l6|latency|2": {"optc f32": 16.0, "optc int8": 5.125},
    }
    page = report(record, transformers)
    assert "| int4 weights, GPTQ | 20.0 | 0.99000 |  |  |" in page
    assert "| | minilm_l6: 2 threads |" in page and "| optc int8 | 5.12 |" in page
    assert "Milliseconds of a call" not in report(
        record, {"minilm_l6|int4 weights, GPTQ": {"snr": 20.0, "cosine": 1.0}}
    )
    assert "## QDQ models in onnxruntime" in page and "## QDQ models compiled by optc" in page


@pytest.mark.parametrize("name", ["optc int8", "onnxruntime quantize_static int8"])
def test_quantizers_make_classifiers(name: str, tmp_path: Path) -> None:
    with np.load(ROOT / "samples" / "data" / "cifar10_test_500.npz") as file:
        images, labels = file["images"], file["labels"]
    task = Task(ROOT / "samples" / "models" / "cifar10_resnet8.onnx", images[:64].astype(np.float32), tmp_path)
    assert accuracy(QUANTIZERS[name](task), images, labels) > 80.0
