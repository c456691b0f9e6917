"""What zeros in rows are worth: a perceptron on CIFAR-10, one image at a time, whole and pruned of activations alone.

    python benchmarks/sparsity.py train CIFAR_FOLDER --work FOLDER
    python benchmarks/sparsity.py prune CIFAR_FOLDER --work FOLDER
    python benchmarks/sparsity.py measure CIFAR_FOLDER --work FOLDER [--out benchmarks/SPARSITY.md]

The first trains the network, the second prunes it within a drop of accuracy on half of the test images and counts right
answers on the other half. The third compiles both and measures them in turns, on images of the other half.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import optc
from benchmarks.cifar10 import test_set, training_images
from optc.driver.quantization.acceptance import hits
from optc.driver.quantization.data import Data
from optc.driver.structure.options import Pricing
from optc.driver.structure.prune import Pruner
from optc.frontends import load_model
from optc.ops.onnx_export import to_onnx_model

WIDTHS = (192, 1024, 1024, 10)
EPOCHS = 3
BATCH = 128
FILES = 2
"""Of 10,000 training images each."""
LIMIT = 0.02
TURNS = 15
IMAGES = 200


def rows(images: np.ndarray) -> np.ndarray:
    """8 x 8 pixels of each image in a row, float32 around zero."""
    small = images.reshape(len(images), 3, 8, 4, 8, 4).mean(axis=(3, 5), dtype=np.float32)
    return (small.reshape(len(images), -1) - 120.0) / 64.0


def samples(data: np.ndarray, size: int) -> list[dict[str, np.ndarray]]:
    """Rows as samples for the network."""
    return [{"x": data[start : start + size]} for start in range(0, len(data), size)]


def train(folder: Path, work: Path) -> None:
    """Write the network."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(WIDTHS):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    package = folder / "package" if (folder / "package").is_dir() else folder
    labels = torch.tensor(json.loads((package / "train_lables.json").read_text()))
    data = torch.from_numpy(rows(training_images(folder, FILES)))
    optimizer = torch.optim.Adam(network.parameters(), 3e-4)
    for epoch in range(EPOCHS):
        for chosen in torch.randperm(len(data)).split(BATCH):
            loss = F.cross_entropy(network(data[chosen]), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        print("epoch", epoch, float(loss.detach()), flush=True)
    torch.onnx.export(
        network,
        (data[:1],),
        str(work / "whole.onnx"),
        input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
        dynamo=False,
    )


def prune(folder: Path, work: Path) -> None:
    """Prune, and judge."""
    paths = [work / "whole.onnx", work / "pruned.onnx"]
    images, labels = test_set(folder)
    data, half = rows(images), len(images) // 2
    calibration = samples(rows(training_images(folder, 1)[:512]), 64)
    pruner = Pruner.of(str(paths[0]), calibration, Pricing("cpu", 1))
    pruner.options = [option for option in pruner.options if option.density is not None]
    inputs = pruner.module.main.inputs
    found = pruner.within_drop(LIMIT, Data(samples(data[:half], 500), inputs), labels[:half])
    for version, drop in found.tried:
        print(version.record(drop), flush=True)
    paths[1].write_bytes(to_onnx_model(found.version.module).SerializeToString())
    accuracy = []
    for path in paths:
        module = load_model(path).module
        accuracy.append(float(hits(module, Data(samples(data[half:], 500), module.main.inputs), labels[half:]).mean()))
    record = {
        "accuracy": accuracy,
        "predicted_ms": [1e3 * found.seconds, 1e3 * found.version.seconds],
        "changes": found.version.record()["changes"],
    }
    (work / "record.json").write_text(json.dumps(record, indent=1))


def measure(folder: Path, work: Path) -> list[float]:
    """The median milliseconds of an image, whole and pruned."""
    images, _ = test_set(folder)
    data = rows(images[-IMAGES:])
    opened = []
    for name in ("whole", "pruned"):
        compiled = optc.compile(work / f"{name}.onnx", output=work / name, dims={"batch": 1}, threads=1, tune=0)
        opened.append(compiled)
    times: list[list[float]] = [[], []]
    for _ in range(TURNS):
        for artifact, found in zip(opened, times, strict=True):
            start = time.perf_counter()
            for row in data:
                artifact.run({"x": row[None]})
            found.append(1e3 * (time.perf_counter() - start) / len(data))
    return [float(np.median(each)) for each in times]


def page(record: dict[str, Any], times: list[float]) -> str:
    """The page."""
    changes = "; ".join(f"{item}: {what}" for item, what in record["changes"].items())
    lines = [
        "# Rows with zeros",
        "",
        f"Written by `benchmarks/sparsity.py`: a perceptron {'-'.join(map(str, WIDTHS))} on images of CIFAR-10",
        "at 8 x 8 pixels, one thread, one image at a time, `--tune 0`, medians over turns, with the call from Python.",
        f"Activations alone were pruned, within {100 * LIMIT:g} points on half of the test images; accuracy is of the",
        "other half.",
        "",
        "| version | accuracy | predicted ms | measured ms |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, right, predicted, taken in zip(
        ("whole", "pruned"), record["accuracy"], record["predicted_ms"], times, strict=True
    ):
        lines.append(f"| {name} | {right:.2%} | {predicted:.3f} | {taken:.3f} |")
    return "\n".join([*lines, "", changes or "Nothing was changed.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "prune", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("SPARSITY.md"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.step != "measure":
        {"train": train, "prune": prune}[given.step](given.folder, given.work)
        return
    record = json.loads((given.work / "record.json").read_text())
    given.out.write_text(page(record, measure(given.folder, given.work)))


if __name__ == "__main__":
    main()
