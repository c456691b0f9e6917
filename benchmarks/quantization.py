"""Accuracy of the quantized CIFAR-10 samples beside other post-training quantizers, on the same calibration images.

    python benchmarks/quantization.py CIFAR_FOLDER [--seeds 0 1 2 3 4] [--only "optc int8" …] [--runtime optc]

CIFAR_FOLDER is where samples/train_cifar10.py keeps its download (`build/cifar10`). Each seed chooses other calibration
images among the 50,000 training images; accuracy is that on all 10,000 test images. The record is kept up to date, and
what it holds is not measured again. `--latency` measures one image on one thread instead: leave the machine alone then.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import quantized_transformers
from benchmarks.quantizers import QUANTIZERS, RUNTIMES, Predict, Task

SAMPLES = Path(__file__).resolve().parent.parent / "samples" / "models"
MODELS = ("resnet8", "mobilenet")
CALIBRATION = 512
BATCH = 250
TIMED = 300
"""Runs whose median is the latency."""

Record = dict[str, dict[str, Any]]


def images(folder: Path, name: str) -> np.ndarray:
    """The 10,000 images of one part of the archive, uint8 [n, 3, 32, 32]."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    return np.asarray(Image.open(folder / f"{name}.png")).reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)


def calibration_images(folder: Path, seed: int) -> np.ndarray:
    """Some of the 50,000 training images, float32."""
    chosen = np.random.default_rng(seed).choice(50_000, CALIBRATION, replace=False)
    parts = [images(folder, f"data_batch_{part + 1}")[chosen[chosen // 10_000 == part] % 10_000] for part in range(5)]
    order = np.argsort(np.argsort(chosen // 10_000, kind="stable"), kind="stable")
    return np.concatenate(parts)[order].astype(np.float32)


def accuracy(predict: Predict, pixels: np.ndarray, labels: np.ndarray) -> float:
    """In percent."""
    starts = range(0, len(pixels), BATCH)
    scores = [predict(pixels[start : start + BATCH].astype(np.float32)) for start in starts]
    return 100.0 * float((np.concatenate(scores).argmax(axis=1) == labels).mean())


def latency(predict: Predict, pixels: np.ndarray) -> float:
    """Milliseconds of one image: the median of `TIMED` runs."""
    image = pixels[:1].astype(np.float32)
    taken = []
    for _ in range(TIMED + TIMED // 10):
        started = time.perf_counter()
        predict(image)
        taken.append(time.perf_counter() - started)
    return 1e3 * float(np.median(taken[TIMED // 10 :]))


def key_of(model: str, name: str, seed: int, runtime: str) -> str:
    """Of an entry of the record; the float model needs no seed."""
    return f"{model}|{name}|{0 if name == 'fp32' else seed}|{runtime}"


def measure(options: argparse.Namespace) -> None:
    """Fill the record, seed after seed."""
    folder = options.folder / "package" if (options.folder / "package").is_dir() else options.folder
    pixels = images(folder, "test_batch")
    labels = np.array(json.loads((folder / "test_lables.json").read_text()))
    what = "latency" if options.latency else "accuracy"
    for seed in options.seeds:
        calibration = calibration_images(folder, seed)
        for model in options.models:
            for name in options.only or QUANTIZERS:
                key = key_of(model, name, seed, options.runtime)
                record = _read(options.record)
                if what in record.get(key, {}):
                    continue
                with tempfile.TemporaryDirectory() as work:
                    started = time.process_time()
                    task = Task(SAMPLES / f"cifar10_{model}.onnx", calibration, Path(work), options.runtime)
                    predict = QUANTIZERS[name](task)
                    seconds = time.process_time() - started
                    found = latency(predict, pixels) if options.latency else accuracy(predict, pixels, labels)
                print(key, f"{what} {found:.3f}", f"made in {seconds:.0f} s", flush=True)
                record.setdefault(key, {}).update({what: found, "seconds": seconds})
                options.record.parent.mkdir(parents=True, exist_ok=True)
                beside = options.record.with_suffix(".part")
                beside.write_text(json.dumps(record, indent=1))
                os.replace(beside, options.record)


def _read(path: Path) -> Record:
    return json.loads(path.read_text()) if path.exists() else {}


def table(record: Record, runtime: str) -> list[str]:
    """Markdown lines: for each quantizer and model the mean over seeds, the worst, what is lost, and the latency."""
    columns = ("mean", "worst", "lost", "ms")
    lines = ["| | " + " | ".join(f"{model}: {column}" for model in MODELS for column in columns) + " |"]
    lines.append("| --- |" + " ---: |" * len(columns) * len(MODELS))
    for name in QUANTIZERS:
        cells = [cell for model in MODELS for cell in _cells(record, model, name, runtime)]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cells(record: Record, model: str, name: str, runtime: str) -> list[str]:
    entries = [entry for key, entry in record.items() if _same(key, model, name, runtime)]
    found = [entry["accuracy"] for entry in entries if "accuracy" in entry]
    times = [entry["latency"] for entry in entries if "latency" in entry]
    exact = record.get(key_of(model, "fp32", 0, runtime), {}).get("accuracy")
    if not found or exact is None:
        return [""] * 4
    mean = float(np.mean(found))
    milliseconds = f"{min(times):.3f}" if times and name != "torchao int8" else ""
    if name == "fp32":
        return [f"{exact:.2f}", "", "", milliseconds]
    return [f"{mean:.2f} ({len(found)})", f"{min(found):.2f}", f"{exact - mean:+.2f}", milliseconds]


def _same(key: str, model: str, name: str, runtime: str) -> bool:
    parts = key.split("|")
    return (parts[0], parts[1], parts[3]) == (model, name, runtime)


def report(record: Record, transformers: Record | None = None) -> str:
    """The whole page, with the record of `quantized_transformers.py` where there is one."""
    lines = [
        "# Accuracy after quantization",
        "",
        f"Top-1 in percent on all 10,000 CIFAR-10 test images; {CALIBRATION} calibration images, chosen from the "
        "training images by a seed: mean over seeds (how many), the worst of them, and points lost on average. "
        "Milliseconds are for one image on one thread. Peers run with their defaults, and models in the integer "
        "kernels of their runtime: NNCF's in OpenVINO, torchao's operation by operation. Written by "
        "`benchmarks/quantization.py`.",
    ]
    titles = {
        "onnxruntime": "QDQ models in onnxruntime",
        "optc": "QDQ models compiled by optc",
        "written": "QDQ models operation by operation",
    }
    for runtime in RUNTIMES:
        if any(key.endswith(f"|{runtime}") for key in record):
            lines += ["", f"## {titles[runtime]}", "", *table(record, runtime)]
    learned = [entry["seconds"] for key, entry in record.items() if "learned" in key]
    if learned:
        lines += [
            "",
            f"Learned rounding took {min(learned):.0f} to {max(learned):.0f} s of one core, calibration included.",
        ]
    if transformers:
        lines += [
            "",
            "## Transformers",
            "",
            "The output against the float model's, in decibels and as the mean cosine, on samples that were not "
            "calibrated on: random sentences, and noise for the untrained vit_tiny. Weights alone are in groups of 128 "
            "(8 bits) and 32 (4 bits). Written by `benchmarks/quantized_transformers.py`.",
            "",
            *quantized_transformers.table(transformers),
            *quantized_transformers.latency_section(transformers),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=range(5))
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--only", nargs="*", choices=tuple(QUANTIZERS), help="Quantizers to measure.")
    parser.add_argument("--runtime", choices=tuple(RUNTIMES), default="onnxruntime", help="What runs QDQ models.")
    parser.add_argument("--latency", action="store_true", help="Measure the time of one image.")
    parser.add_argument("--record", type=Path, default=Path("build/quantization.json"))
    parser.add_argument("--transformers", type=Path, default=Path("build/transformers.json"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("QUANTIZATION.md"))
    options = parser.parse_args()
    measure(options)
    options.out.write_text(report(_read(options.record), _read(options.transformers)))


if __name__ == "__main__":
    main()
