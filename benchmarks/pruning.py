"""What `optc prune` makes of the CIFAR-10 samples: accuracy on the test images, and measured latency of the artifacts.

    python benchmarks/pruning.py prune CIFAR_FOLDER --work FOLDER
    python benchmarks/pruning.py judge CIFAR_FOLDER --work FOLDER
    python benchmarks/pruning.py measure CIFAR_FOLDER --work FOLDER [--out benchmarks/PRUNING.md]

The first writes the smaller models and what was chosen to FOLDER, the second compiles them and counts right answers on
all test images, the third measures them, one after the other in turns, and writes the page.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import optc
from benchmarks.cifar10 import SAMPLES, test_set, training_images
from optc.driver.quantization.acceptance import hits
from optc.driver.quantization.data import Data
from optc.driver.structure.options import Pricing
from optc.driver.structure.prune import Pruner
from optc.frontends import load_model
from optc.ops.onnx_export import to_onnx_model
from optc.runtime import load
from optc.runtime.bench import bench

MODELS = ("resnet8", "mobilenet")
TURNS = 5


def batches(images: np.ndarray, size: int) -> list[dict[str, np.ndarray]]:
    """Images as samples for the models."""
    return [{"pixels": images[start : start + size].astype(np.float32)} for start in range(0, len(images), size)]


def prune(folder: Path, work: Path, names: list[str], limit: float, images: int, epochs: float) -> None:
    """Choose within a drop on half of the test images; write each model and the accuracy on all of them."""
    work.mkdir(parents=True, exist_ok=True)
    calibration = batches(training_images(folder, 1)[:images], 32)
    tested, labels = test_set(folder)
    half = len(tested) // 2
    for name in names:
        pruner = Pruner.of(SAMPLES / f"cifar10_{name}.onnx", calibration, Pricing("cpu", 1), epochs=epochs)
        inputs = pruner.module.main.inputs
        found = pruner.within_drop(limit, Data(batches(tested[:half], 100), inputs), labels[:half])
        rows = [{"kind": "chosen"} | found.version.record()]
        if found.tried and found.tried[-1][0] is not found.version:
            rows.append({"kind": "the next, beyond the bound"} | found.tried[-1][0].record())
        for number, (version, drop) in enumerate(found.tried):
            print(name, number, version.record(drop), flush=True)
        for number, version in enumerate([found.version, found.tried[-1][0]][: len(rows)]):
            (work / f"{name}{number}.onnx").write_bytes(to_onnx_model(version.module).SerializeToString())
        record = {
            "limit": limit,
            "images": images,
            "epochs": epochs,
            "before_ms": 1e3 * found.seconds,
            "basis": found.basis,
            "met": found.met,
            "rows": rows,
            "reasons": dict(found.reasons),
        }
        (work / f"{name}.json").write_text(json.dumps(record, indent=1))


def paths_of(work: Path, name: str) -> list[Path]:
    """The model as it was and those written."""
    return [SAMPLES / f"cifar10_{name}.onnx", *sorted(work.glob(f"{name}[0-9].onnx"))]


def judge(folder: Path, work: Path, names: list[str]) -> None:
    """Add the accuracy of each model to what was written, and compile it."""
    tested, labels = test_set(folder)
    for name in names:
        shares = []
        for number, path in enumerate(paths_of(work, name)):
            # Schedules by prediction alone: those found by measuring a few differ more than the models do.
            optc.compile(path, output=work / f"{name}_{number}", dims={"batch": 1}, threads=1, tune=0).close()
            module = load_model(path).module
            shares.append(float(hits(module, Data(batches(tested, 100), module.main.inputs), labels).mean()))
        record = json.loads((work / f"{name}.json").read_text())
        (work / f"{name}.json").write_text(json.dumps(record | {"accuracy": shares}, indent=1))


def measure(work: Path, names: list[str], seconds: float) -> dict[str, list[float]]:
    """The median milliseconds of the model as it was and of those written, by name."""
    found = {}
    for name in names:
        paths = paths_of(work, name)
        loaded = [load(work / f"{name}_{number}") for number in range(len(paths))]
        values = {"pixels": np.random.default_rng(0).uniform(0, 255, (1, 3, 32, 32)).astype(np.float32)}
        times = [
            [1e3 * bench(each, values, seconds=seconds, threads=1).median for each in loaded] for _ in range(TURNS)
        ]
        found[name] = np.median(np.array(times), axis=0).tolist()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prune", "judge", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--max-drop", type=float, default=0.02)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("PRUNING.md"))
    given = parser.parse_args()
    if given.step == "prune":
        prune(given.folder, given.work, given.models, given.max_drop, given.images, given.epochs)
    elif given.step == "judge":
        judge(given.folder, given.work, given.models)
    else:
        times = measure(given.work, given.models, given.seconds)
        given.out.write_text("\n".join(page(given.work, times)) + "\n")


def page(work: Path, times: dict[str, list[float]]) -> list[str]:
    """The lines of the page."""
    lines = [
        "# Pruning",
        "",
        "Written by `benchmarks/pruning.py`: CIFAR-10 samples, one thread, the native artifacts' median over "
        f"{TURNS} turns on the machine that they were compiled on, with `--tune 0`. Versions are judged "
        "on the first half of the test images with 99.5% confidence; accuracy is of all 10,000.",
        "",
        "| model | version | accuracy | predicted ms | measured ms | measured gain | changes |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    notes = []
    for name, measured in times.items():
        made = json.loads((work / f"{name}.json").read_text())
        (accuracy, *shares), before = made["accuracy"], made["before_ms"]
        lines.append(f"| {name} | as it was | {accuracy:.2%} | {before:.4f} | {measured[0]:.4f} | | |")
        for row, share, taken in zip(made["rows"], shares, measured[1:], strict=True):
            changes = "; ".join(f"{item}: {what}" for item, what in row["changes"].items()) or "none: left as it was"
            lines.append(
                f"| {name} | {row['kind']} | {share:.2%} | {row['latency_ms']:.4f} | {taken:.4f} "
                f"| {1 - taken / measured[0]:+.1%} | {changes} |"
            )
        notes.append(
            f"{name}: {made['images']:,} training images without labels to fit to, {made['epochs']:g} epochs of "
            f"fine-tuning on them; at most {100 * made['limit']:g} points of accuracy may be lost. "
            f"Predictions: {made['basis']}."
        )
    return [*lines, *(line for note in notes for line in ("", note))]


if __name__ == "__main__":
    main()
