"""Whether `--max-drop` holds on images that nobody looked at: the CIFAR-10 samples, several bounds and seeds.

    python benchmarks/max_drop.py CIFAR_FOLDER [--seeds 5] [--out benchmarks/MAX_DROP.md]

For each seed the 10,000 test images are divided by chance: 5,000 are the labelled set that the search may use, 5,000
are held out and only score what was chosen. Calibration takes training images without labels, the same for all seeds,
so each candidate answers each image once. The quantized models run on onnxruntime's integer kernels.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.cifar10 import SAMPLES, test_set, training_images
from optc.driver.quantization.acceptance import CONFIDENCE, Drop, compare, hits, last_accepted
from optc.driver.quantization.data import Data
from optc.driver.quantization.mixed import Point, PrecisionSearch
from optc.driver.quantization.quantize import Quantizer
from optc.passes.quantization.qdq import quantized_module

LIMITS = (0.001, 0.003, 0.005, 0.01)
CALIBRATION = 256
BATCH = 500
FORMATS = {"latency": ("int8",), "size": ("int8", "int8-weights", "int4", "int4-weights")}


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        limit: asked for.
        labelled: the drop on the labelled set; None where nothing was accepted.
        held_out: the same choice on the held-out set.
        cost: share of the float model's cost.
        counts: layers by format.
    """

    limit: float
    labelled: Drop | None
    held_out: Drop | None
    cost: float
    counts: dict[str, int]


def runs(
    search: PrecisionSearch, images: np.ndarray, labels: np.ndarray, seeds: int, counts: list[int]
) -> list[list[Row]]:
    """All bounds for each division of the images; where counts are given, only with the most exact of those many
    quantized layers, which is as fixed as all of the front are."""
    batches = [{"pixels": images[at : at + BATCH].astype(np.float32)} for at in range(0, len(images), BATCH)]
    data = Data(batches, search.module.main.inputs)
    reference = hits(search.module, data, labels, deployed=True)
    points = sorted((each for each in search.front() if each.quantized), key=lambda each: -each.measured_snr)
    if counts:
        points = [next(each for each in points if len(each.quantized) == count) for count in sorted(counts)]
    known: dict[int, np.ndarray] = {}

    def judge(point: Point, part: np.ndarray) -> Drop:
        if id(point) not in known:
            module = quantized_module(search.module, search.plan(point.schemes))
            known[id(point)] = hits(module, data, labels, deployed=True)
        return compare(reference[part], known[id(point)][part])

    whole = search.problem.cost(search.in_float)
    found = []
    for seed in range(seeds):
        labelled, held_out = np.split(np.random.default_rng(seed).permutation(len(images)), 2)
        rows = []
        for limit in LIMITS:
            point, drops = last_accepted(points, partial(judge, part=labelled), limit)
            if point is None:
                rows.append(Row(limit, None, None, 1.0, {}))
            else:
                drop = drops[points.index(point)]
                rows.append(Row(limit, drop, judge(point, held_out), point.cost / whole, point.counts))
        found.append(rows)
    return found


def line(name: str, objective: str, seed: int, row: Row) -> str:
    """A row of the table."""
    start = f"| {name} | {objective} | {seed} | {100 * row.limit:g} |"
    if row.labelled is None or row.held_out is None:
        return f"{start} exit code 3 | | | | |"
    honoured = "yes" if row.held_out.measured <= row.limit else "NO"
    counts = ", ".join(f"{count} {scheme}" for scheme, count in row.counts.items())
    return (
        f"{start} {100 * row.labelled.measured:+.2f} | {100 * row.labelled.bound:+.2f} | "
        f"{100 * row.held_out.measured:+.2f} | {honoured} | {row.cost:.0%}: {counts} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=["resnet8", "mobilenet"])
    parser.add_argument("--objectives", nargs="*", default=["latency", "size"])
    parser.add_argument(
        "--counts", type=int, nargs="*", default=[], help="of quantized layers; default: all candidates"
    )
    parser.add_argument("--target", default="x86-64-v3")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("MAX_DROP.md"))
    options = parser.parse_args()
    training = training_images(options.folder, 1)
    images, labels = test_set(options.folder)
    header = [
        "# Is `--max-drop` honoured on held-out images?",
        "",
        f"Written by `benchmarks/max_drop.py`: CIFAR-10 samples, {len(images) // 2:,} labelled test images for the "
        f"search, the other {len(images) // 2:,} held out, divided anew for each seed; {CALIBRATION} training images "
        f"for calibration; target `{options.target}`; {100 * CONFIDENCE:g}% confidence. Drops in points of accuracy; "
        "the cost is a share of the float model's predicted one.",
        "",
        "| model | objective | seed | bound | drop, labelled | with margin | drop, held out | honoured | cost |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    lines: list[str] = []
    for name in options.models:
        chosen = np.random.default_rng(1000).permutation(len(training))[:CALIBRATION]
        calibration = [{"pixels": training[part]} for part in np.split(chosen, CALIBRATION // 32)]
        quantizer = Quantizer.of(SAMPLES / f"cifar10_{name}.onnx", calibration)
        for objective in options.objectives:
            search = quantizer.search(FORMATS[objective], objective=objective, target=options.target)
            for seed, rows in enumerate(runs(search, images, labels, options.seeds, options.counts)):
                lines += [line(name, objective, seed, row) for row in rows]
            print("\n".join(lines), flush=True)
            options.out.write_text("\n".join([*header, *lines]) + "\n")


if __name__ == "__main__":
    main()
