"""Accuracy of the quantized CIFAR-10 samples beside onnxruntime's static quantizer, on the same calibration images.

    python benchmarks/quantization.py CIFAR_FOLDER [--out benchmarks/QUANTIZATION.md]

CIFAR_FOLDER is where samples/train_cifar10.py keeps its download (`build/cifar10`). Calibration takes training images,
accuracy all 10,000 test images. `QDQ` runs the model as it is written (no integer kernels); `deployed` lets onnxruntime
put its own integer kernels in, which on AVX2 without VNNI saturate with 8-bit weights.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner
from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model
from optc.runtime.ort_session import open_session

SAMPLES = Path(__file__).resolve().parent.parent / "samples" / "models"
CALIBRATION = 512
BATCH = 500


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibration images, test images (uint8 [n, 3, 32, 32]) and test labels."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None

    def images(name: str) -> np.ndarray:
        rows = np.asarray(Image.open(folder / f"{name}.png"))
        return rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)

    labels = np.array(json.loads((folder / "test_lables.json").read_text()))
    return images("data_batch_1")[:CALIBRATION], images("test_batch"), labels


def accuracy(run: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """In percent; `run` maps float images to scores."""
    scores = [run(images[start : start + BATCH].astype(np.float32)) for start in range(0, len(images), BATCH)]
    return 100.0 * float((np.concatenate(scores).argmax(axis=1) == labels).mean())


def of_module(module: Module, *, deployed: bool = False) -> Any:
    """Runs a module."""
    runner = Runner(module, deployed=deployed)
    return lambda images: runner.run({"pixels": images})[0]


def peer(path: Path, calibration: np.ndarray, folder: Path, optimizations: Any) -> Any:
    """onnxruntime's static quantizer with its defaults for CPUs: QDQ, unsigned activations, weights per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.items = iter(calibration[start : start + 32] for start in range(0, len(calibration), 32))

        def get_next(self) -> dict[str, np.ndarray] | None:
            item = next(self.items, None)
            return None if item is None else {"pixels": item.astype(np.float32)}

    prepared, written = folder / "prepared.onnx", folder / "peer.onnx"
    quant_pre_process(path, prepared)
    quantize_static(
        prepared,
        written,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    session = open_session(str(written), purpose="the comparison needs", threads=1, optimizations=optimizations)
    return lambda images: session.run(None, {"pixels": images})[0]


def rows(name: str, data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> list[tuple[str, float]]:
    """What was quantized how, and its accuracy in percent."""
    calibration, images, labels = data
    path = SAMPLES / f"cifar10_{name}.onnx"
    batches = [{"pixels": calibration[start : start + 32]} for start in range(0, len(calibration), 32)]
    quantizer = Quantizer.of(path, batches)
    found = [("fp32", accuracy(of_module(quantizer.module), images, labels))]
    for scheme in ("int8", "int7", "int4", "fp8-e4m3"):
        module = quantizer.write(quantizer.plan(scheme))
        found.append((f"{scheme}, QDQ", accuracy(of_module(module), images, labels)))
        if scheme in ("int8", "int7"):
            found.append((f"{scheme}, deployed", accuracy(of_module(module, deployed=True), images, labels)))
        print(name, *found[-1], len(to_onnx_model(module).SerializeToString()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for label, optimizations in (("QDQ", "basic"), ("deployed", "all")):
            run = peer(path, calibration, Path(folder), optimizations)
            found.append((f"onnxruntime quantize_static int8, {label}", accuracy(run, images, labels)))
            print(name, *found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("QUANTIZATION.md"))
    options = parser.parse_args()
    folder = options.folder / "package" if (options.folder / "package").is_dir() else options.folder
    data = load(folder)
    tables = {name: rows(name, data) for name in ("resnet8", "mobilenet")}
    lines = [
        "# Accuracy after quantization",
        "",
        f"Top-1 on {len(data[2]):,} CIFAR-10 test images, in percent (points lost); {CALIBRATION} training images for "
        "calibration; written by `benchmarks/quantization.py`.",
        "",
        f"| | {' | '.join(tables)} |",
        f"| --- |{' ---: |' * len(tables)}",
    ]
    for number, (label, _) in enumerate(next(iter(tables.values()))):
        cells = [f"{table[number][1]:.2f} ({table[0][1] - table[number][1]:+.2f})" for table in tables.values()]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
