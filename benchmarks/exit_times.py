"""Early exits and cascades as native artifacts: wall time over the test images, beside the plain network.

    python -m benchmarks.exit_times prepare --work build/split_cifar10      # calibrate, export, compile
    python -m benchmarks.exit_times measure --work build/split_cifar10      # on an idle machine

Batch 1, one thread. The artifacts take turns image by image; the median of three rounds over all images is kept. Times
are of the native library's run on buffers that stay where they are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
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

BOUND = 0.005
PLAIN = {"resnet8 exit": "resnet8", "resnet8 then mobilenet": "mobilenet", "mobilenet exit": "mobilenet"}
"""What each artifact stands in for."""

Scores = Mapping[str, tuple[Tensor, Tensor]]
"""Of the exit and of the network, for the held-out training images and for the test images."""


def sample_network(name: str) -> Module:
    """One of the sample networks."""
    return load_model(ROOT / f"samples/models/cifar10_{name}.onnx").module


@torch.no_grad()
def _cascade_scores(data: Cifar10) -> Scores:
    found = {}
    for part, images in _images(data).items():
        both = []
        for name in ("resnet8", "mobilenet"):
            graph = sample_network(name).main
            whole = Section(graph, graph.inputs, graph.outputs)
            both.append(torch.cat([whole(piece.float()) for piece in images.split(500)]))
        found[part] = (both[0], both[1])
    return found


def _images(data: Cifar10) -> dict[str, Tensor]:
    return {"held out": data.train_images[-sample.HELD_OUT :], "test": data.test_images}


def prepare(data: Cifar10, results: Results, work: Path) -> None:
    """Calibrate on held-out training images, judge on the test images, export and compile."""
    labels = {"held out": data.train_labels[-sample.HELD_OUT :], "test": data.test_labels}
    for key in PLAIN:
        name = key.removesuffix(" exit")
        model = None
        if key.endswith(" exit"):
            if not (work / f"{name}.exit.pt").exists():
                continue
            model = sample.early_exit(name, data, work)
            scores: Scores = {part: all_scores(model, images) for part, images in _images(data).items()}
        else:
            scores = _cascade_scores(data)
        alone = _share(scores["test"][1], labels["test"])
        results.keep("exit alone", key, {"exit": _share(scores["test"][0], labels["test"]), "network": alone})
        for confidence in CONFIDENCES:
            rule = calibrate(*scores["held out"], labels["held out"], BOUND, confidence)
            results.keep("exit rules", f"{key} {confidence}", _judged(rule, scores["test"], labels["test"], alone))
        rule = calibrate(*scores["held out"], labels["held out"], BOUND)
        if model is not None:
            proto = with_exit(model, rule)
        else:
            proto = cascade(sample_network("resnet8"), sample_network("mobilenet"), rule)
        path = work / f"{key.replace(' ', '_')}.onnx"
        path.write_bytes(proto.SerializeToString())
        optc.compile(path, output=path.with_suffix(""), threads=1).close()
    for name in set(PLAIN.values()):
        path = ROOT / f"samples/models/cifar10_{name}.onnx"
        optc.compile(path, output=work / f"{name}_plain", dims={"batch": 1}, threads=1).close()


def _share(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())


def _judged(rule: ExitRule, scores: tuple[Tensor, Tensor], labels: Tensor, alone: float) -> dict[str, Any]:
    answers, leaves = rule.answers(*scores)
    accuracy = _share(answers, labels)
    return {
        "threshold": rule.threshold,
        "share": rule.share,
        "leaves held out": rule.leaves,
        "drop held out": rule.drop,
        "leaves": float(leaves.double().mean()),
        "accuracy": accuracy,
        "drop": alone - accuracy,
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
        folder = work / key.replace(" ", "_")
        if not folder.is_dir():
            continue
        runners = {"plain": Runner(work / f"{plain}_plain"), "exit": Runner(folder)}
        times = {kind: np.empty((rounds, len(labels))) for kind in runners}
        right, left = dict.fromkeys(runners, 0), 0
        for each in range(rounds):
            for place, image in enumerate(data.test_images.numpy()):
                pixels[0] = image
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prepare", "measure"))
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "cifar10", help="the download")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "split_cifar10", help="what training left")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, results = load_cifar10(options.data), Results(options.work / "bottleneck.json")
    {"prepare": prepare, "measure": measure}[options.step](data, results, options.work)


if __name__ == "__main__":
    main()
