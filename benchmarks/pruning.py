"""What `optc prune` makes of the CIFAR-10 samples: accuracy on the test images, and measured latency of the artifacts.

    python benchmarks/pruning.py CIFAR_FOLDER --work FOLDER
    python benchmarks/pruning.py CIFAR_FOLDER --work FOLDER --measure [--out benchmarks/PRUNING.md]

The first writes the smaller models and what was chosen to FOLDER; with --measure the models there are compiled and
measured, one after the other in turns, and the table is written.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import optc
from benchmarks.cifar10 import SAMPLES, test_set, training_images
from optc.driver.quantization.acceptance import compare, hits
from optc.driver.quantization.data import Data
from optc.driver.structure.options import Pricing
from optc.driver.structure.prune import Pruner, Version
from optc.frontends import load_model
from optc.ops.onnx_export import to_onnx_model
from optc.runtime import load
from optc.runtime.bench import bench
from optc.runtime.random_inputs import random_inputs

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
        every = Data(batches(tested, 100), inputs)
        reference = hits(pruner.module, every, labels)

        def row(version: Version, kind: str, every: Data = every, reference: np.ndarray = reference) -> dict:
            drop = compare(reference, hits(version.module, every, labels))
            return {"kind": kind, "accuracy": drop.accuracy - drop.measured, "drop": drop.text} | version.record()

        rows = [row(found.version, "chosen")]
        if found.tried and found.tried[-1][0] is not found.version:
            rows.append(row(found.tried[-1][0], "the next, beyond the bound"))
        for number, (version, drop) in enumerate(found.tried):
            print(name, number, version.record(drop), flush=True)
        for number, version in enumerate([found.version, found.tried[-1][0]][: len(rows)]):
            (work / f"{name}{number}.onnx").write_bytes(to_onnx_model(version.module).SerializeToString())
        record = {
            "limit": limit,
            "images": images,
            "epochs": epochs,
            "accuracy": float(reference.mean()),
            "before_ms": 1e3 * found.seconds,
            "basis": found.basis,
            "met": found.met,
            "rows": rows,
            "reasons": dict(found.reasons),
        }
        (work / f"{name}.json").write_text(json.dumps(record, indent=1))


def measure(work: Path, names: list[str], seconds: float) -> dict[str, list[float]]:
    """The median milliseconds of the model as it was and of those written, by name."""
    found = {}
    for name in names:
        paths = [SAMPLES / f"cifar10_{name}.onnx", *sorted(work.glob(f"{name}[0-9].onnx"))]
        loaded = []
        for number, path in enumerate(paths):
            artifact = work / f"{name}_{number}"
            if not artifact.exists():
                optc.compile(path, output=artifact, dims={"batch": 1}, threads=1).close()
            loaded.append(load(artifact))
        module = load_model(paths[0], None, {"batch": 1}).module
        values = random_inputs(module.main.inputs, 0)
        times = [
            [1e3 * bench(each, values, seconds=seconds, threads=1).median for each in loaded] for _ in range(TURNS)
        ]
        found[name] = np.median(np.array(times), axis=0).tolist()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--max-drop", type=float, default=0.02)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("PRUNING.md"))
    given = parser.parse_args()
    if not given.measure:
        prune(given.folder, given.work, given.models, given.max_drop, given.images, given.epochs)
        return
    times = measure(given.work, given.models, given.seconds)
    given.out.write_text("\n".join(page(given.work, times)) + "\n")


def page(work: Path, times: dict[str, list[float]]) -> list[str]:
    """The lines of the page."""
    lines = ["# Pruning", ""]
    for name, measured in times.items():
        made = json.loads((work / f"{name}.json").read_text())
        if len(lines) == 2:
            lines += [
                f"Written by `benchmarks/pruning.py`: CIFAR-10 samples, one thread, the native artifacts' median over "
                f"{TURNS} turns; {made['images']:,} training images without labels to fit to, {made['epochs']:g} "
                f"epochs of fine-tuning on them; at most {100 * made['limit']:g} points of accuracy lost, judged on the first "
                "half of the test images with 99.5% confidence; accuracy is of all 10,000.",
                "",
                "| model | version | accuracy | predicted ms | measured ms | measured gain | changes |",
                "| --- | --- | ---: | ---: | ---: | ---: | --- |",
            ]
        accuracy, before = made["accuracy"], made["before_ms"]
        lines.append(f"| {name} | as it was | {accuracy:.2%} | {before:.4f} | {measured[0]:.4f} | | |")
        for row, taken in zip(made["rows"], measured[1:], strict=True):
            changes = "; ".join(f"{item}: {what}" for item, what in row["changes"].items()) or "none: left as it was"
            lines.append(
                f"| {name} | {row['kind']} | {row['accuracy']:.2%} | {row['latency_ms']:.4f} | {taken:.4f} "
                f"| {1 - taken / measured[0]:+.1%} | {changes} |"
            )
    return lines


if __name__ == "__main__":
    main()
