"""Early exits and cascades as native artifacts: wall time over the test images, beside the plain network.

    python -m benchmarks.exit_times calibrate --work build/split_cifar10
    python -m benchmarks.exit_times build --work build/split_cifar10        # compile, with tuning: on an idle machine
    python -m benchmarks.exit_times measure --work build/split_cifar10      # on an idle machine

Thresholds need images that neither the network nor the exit has learned from: each half of the test images is judged
by the rule that was calibrated on the other half.

Batch 1, one thread. The artifacts take turns image by image; the median of three rounds over all images is kept. Times
are of the native library's run on buffers that stay where they are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "samples"))

import split_cifar10 as sample  # noqa: E402
from cifar10_data import Cifar10, load_cifar10  # noqa: E402

import optc  # noqa: E402
from benchmarks.bottleneck import Results  # noqa: E402
from optc.driver.split.learning.exits import CONFIDENCES, ExitRule, all_scores, calibrate  # noqa: E402
from optc.driver.split.learning.section import Section  # noqa: E402
from optc.driver.split.learning.writing import cascade, with_exit  # noqa: E402
from optc.frontends import load_model  # noqa: E402
from optc.ir.core import Module  # noqa: E402
from optc.runtime.arrays import address_of, aligned_empty  # noqa: E402

BOUND = 0.003
"""Accuracy that a rule may lose where it is calibrated: half a point is wanted elsewhere, and chance has a share."""

PLAIN = {"resnet8 exit": "resnet8", "resnet8 then mobilenet": "mobilenet", "mobilenet exit": "mobilenet"}
"""What each artifact stands in for."""

Scores = tuple[Tensor, Tensor]
"""Of the exit and of the network, for all test images."""


def sample_network(name: str) -> Module:
    """One of the sample networks."""
    return load_model(ROOT / f"samples/models/cifar10_{name}.onnx").module


@torch.no_grad()
def _cascade_scores(images: Tensor) -> Scores:
    both = []
    for name in ("resnet8", "mobilenet"):
        graph = sample_network(name).main
        whole = Section(graph, graph.inputs, graph.outputs)
        both.append(torch.cat([whole(piece.float()) for piece in images.split(500)]))
    return both[0], both[1]


def folds(count: int) -> list[tuple[slice, slice]]:
    """What rules are calibrated on, and what is judged by them."""
    first, second = slice(0, count // 2), slice(count // 2, count)
    return [(first, second), (second, first)]


def calibrated(data: Cifar10, results: Results, work: Path) -> None:
    """Calibrate on one half of the test images and judge on the other; write a model for each."""
    labels = data.test_labels
    for key in PLAIN:
        name = key.removesuffix(" exit")
        model = None
        if key.endswith(" exit"):
            if not (work / f"{name}.exit.pt").exists():
                continue
            model = sample.early_exit(name, data, work)
            scores = all_scores(model, data.test_images)
        else:
            scores = _cascade_scores(data.test_images)
        alone = _share(scores[1], labels)
        results.keep("exit alone", key, {"exit": _share(scores[0], labels), "network": alone})
        for confidence in (*CONFIDENCES, None):
            rules = [
                calibrate(scores[0][on], scores[1][on], labels[on], BOUND, confidence) for on, _ in folds(len(labels))
            ]
            chosen = confidence or "the best"
            results.keep("exit rules", f"{key}, {chosen}", judged(rules, scores, labels))
        for fold, rule in enumerate(rules):
            if model is not None:
                proto = with_exit(model, rule)
            else:
                proto = cascade(sample_network("resnet8"), sample_network("mobilenet"), rule)
            _model(work, key, fold).write_bytes(proto.SerializeToString())


def _model(work: Path, key: str, fold: int) -> Path:
    return work / f"{key.replace(' ', '_')}_{fold}.onnx"


def build(data: Cifar10, results: Results, work: Path) -> None:
    """Compile what was calibrated, and the plain networks."""
    for key in PLAIN:
        for path in (_model(work, key, fold) for fold in range(2)):
            if path.exists():
                optc.compile(path, output=path.with_suffix(""), threads=1).close()
    for name in set(PLAIN.values()):
        path = ROOT / f"samples/models/cifar10_{name}.onnx"
        optc.compile(path, output=work / f"{name}_plain", dims={"batch": 1}, threads=1).close()


def _share(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())


def judged(rules: list[ExitRule], scores: Scores, labels: Tensor) -> dict[str, Any]:
    """What the rule of each half makes of the other."""
    right = left = 0
    for rule, (_, on) in zip(rules, folds(len(labels)), strict=True):
        answers, leaves = rule.answers(scores[0][on], scores[1][on])
        right += int((answers.argmax(1) == labels[on]).sum())
        left += int(leaves.sum())
    return {
        "confidence": [rule.confidence for rule in rules],
        "threshold": [rule.threshold for rule in rules],
        "share": [rule.share for rule in rules],
        "leaves calibrated": sum(rule.leaves for rule in rules) / len(rules),
        "leaves": left / len(labels),
        "accuracy": right / len(labels),
        "drop": _share(scores[1], labels) - right / len(labels),
    }


class Runner:
    """An artifact with buffers of its own."""

    def __init__(self, folder: Path) -> None:
        self.artifact = optc.load(folder, threads=1)
        self.native = self.artifact._opened()
        self.outputs = [aligned_empty(shape, dtype) for shape, dtype in filter(None, self.artifact._output_types)]
        self.places: list[int | None] = [address_of(array) for array in self.outputs]
        self.names = [info.name for info in self.artifact.outputs]

    def run(self, address: int) -> int:
        """Nanoseconds of one run."""
        started = time.perf_counter_ns()
        self.native.run([address], self.places)
        return time.perf_counter_ns() - started

    def output(self, name: str) -> np.ndarray:
        """The last run's."""
        return self.outputs[self.names.index(name)]


def measure(data: Cifar10, results: Results, work: Path, rounds: int = 3) -> None:
    """Wall time over all test images, in turns with the plain network."""
    labels = data.test_labels.numpy()
    pixels = aligned_empty((1, 3, 32, 32), np.dtype(np.float32))
    address = address_of(pixels)
    for key, plain in PLAIN.items():
        folders = [_model(work, key, fold).with_suffix("") for fold in range(2)]
        if not all(folder.is_dir() for folder in folders):
            continue
        alone, exits = Runner(work / f"{plain}_plain"), [Runner(folder) for folder in folders]
        times = {kind: np.empty((rounds, len(labels))) for kind in ("plain", "exit")}
        right, left = dict.fromkeys(times, 0), 0
        for each in range(rounds):
            for fold, (_, on) in enumerate(folds(len(labels))):
                runners = {"plain": alone, "exit": exits[fold]}
                for place in range(on.start, on.stop):
                    pixels[0] = data.test_images[place].numpy()
                    order = list(runners.items())
                    for kind, runner in order if (place + each) % 2 else reversed(order):
                        times[kind][each, place] = runner.run(address)
                    if each == 0:
                        for kind, runner in runners.items():
                            right[kind] += int(runner.output("logits").argmax() == labels[place])
                        left += int(runners["exit"].output("left_early")[0])
        mean = {kind: float(np.median(found.mean(1))) / 1000 for kind, found in times.items()}
        entry = {
            "plain us": mean["plain"],
            "exit us": mean["exit"],
            "saved": 1 - mean["exit"] / mean["plain"],
            "rounds saved": [
                float(1 - e.mean() / p.mean()) for e, p in zip(times["exit"], times["plain"], strict=True)
            ],
            "plain accuracy": right["plain"] / len(labels),
            "accuracy": right["exit"] / len(labels),
            "left early": left / len(labels),
        }
        results.keep("exit times", key, entry)


STEPS: dict[str, Callable[[Cifar10, Results, Path], None]] = {
    "calibrate": calibrated,
    "build": build,
    "measure": measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "cifar10", help="the download")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "split_cifar10", help="what training left")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, results = load_cifar10(options.data), Results(options.work / "bottleneck.json")
    STEPS[options.step](data, results, options.work)


if __name__ == "__main__":
    main()
