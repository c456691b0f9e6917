"""Flipped bits in the weights of the samples: wrong answers and latency with and without protection.

    python benchmarks/faults.py --out benchmarks/FAULTS.md

Each trial flips every bit of the compiled model's weights with the given probability after the model was opened, and
classifies the samples one after the other; an answer is wrong when its class is another one than without faults.
Latencies are of the native call, medians over interleaved rounds on one thread, as ratios to the plain model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

import optc
from optc.driver.resilience.injection import NativeInjection, Tally
from optc.driver.resilience.protect import protect
from optc.ops.onnx_export import to_onnx_model
from optc.version import __version__

SAMPLES = Path(__file__).parents[1] / "samples"
MODELS = ("cifar10_resnet8", "cifar10_mobilenet")
KINDS = ("plain", "--guard-weights", "optc protect", "both")
RATE = 1e-6
IMAGES = 50
ROUNDS = 40
RUNS = 40


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--tune", type=float, default=0.0, help="seconds of measuring schedules, for each model")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            rows += _measured(name, Path(folder), options.trials, options.tune)
    page = _page(rows, options.trials, options.tune)
    print(page)
    if options.out is not None:
        options.out.write_text(page)


def _measured(name: str, folder: Path, trials: int, tune: float) -> list[list[str]]:
    source = SAMPLES / "models" / f"{name}.onnx"
    images = np.load(SAMPLES / "data" / "cifar10_test_500.npz")["images"].astype(np.float32)
    given = onnx.load(source).graph.input[0].name
    shown = [{given: images[start : start + 50]} for start in range(IMAGES, len(images), 50)]
    checked = to_onnx_model(protect(source, shown).module)
    opened = {}
    for kind, model, guard in zip(KINDS, (source, source, checked, checked), (False, True, False, True), strict=True):
        path = folder / f"{name}{KINDS.index(kind)}"
        optc.compile(model, output=path, dims={"batch": 1}, threads=1, guard_weights=guard, tune=tune).close()
        opened[kind] = NativeInjection(path, images[:IMAGES, None])
    times = _times(opened)
    tallies: dict[str, Tally] = {}
    for kind, injection in opened.items():
        choices, bits, tally = np.random.default_rng(1), injection.weights.size * 8, Tally()
        for _ in range(trials):
            tally = tally + injection.trial(choices.integers(0, bits, choices.binomial(bits, RATE)))
        injection.close()
        tallies[kind] = tally
    plain = tallies["plain"]
    return [[name, kind, *_shown(tallies[kind], plain), f"{times[kind] / times['plain']:.2f}"] for kind in KINDS]


def _times(opened: dict[str, NativeInjection]) -> dict[str, float]:
    """Seconds of a run, by kind."""
    found: dict[str, list[float]] = {kind: [] for kind in opened}
    for _ in range(ROUNDS):
        for kind, injection in opened.items():
            start = time.perf_counter()
            for _ in range(RUNS):
                injection.answer(0)
            found[kind].append((time.perf_counter() - start) / RUNS)
    return {kind: float(np.median(values)) for kind, values in found.items()}


def _shown(tally: Tally, plain: Tally) -> list[str]:
    fewer = "–" if tally is plain else f"{plain.wrong / tally.wrong:.0f}x" if tally.wrong else f"> {plain.wrong}x"
    finite = (tally.wrong - tally.not_finite) / tally.answers
    return [f"{tally.wrong_share:.3%}", f"{finite:.3%}", fewer, f"{tally.refused / tally.answers:.1%}"]


def _page(rows: list[list[str]], trials: int, tune: float) -> str:
    head = ["model", "protection", "silently wrong", "of these finite", "fewer", "refused", "latency"]
    table = [head, ["---"] * len(head), *rows]
    text = "\n".join("| " + " | ".join(row) + " |" for row in table)
    return (
        f"# Flipped bits\n\noptc {__version__}; `python benchmarks/faults.py`: {trials} trials, each bit of the\n"
        f"weights flipped with probability {RATE:g}, {IMAGES} images a trial, one thread, `--tune {tune:g}`.\n\n"
        f"{text}\n\n"
        "* `--guard-weights`: all weights are checked when the model is opened, and some in each run; once a change\n"
        "  is found, answers are refused. Wrong ones come before that.\n"
        "* `optc protect`: results of a layer that exceed all that it gave on samples become zero, in the kernel\n"
        "  that makes them. It keeps answering.\n"
    )


if __name__ == "__main__":
    main()
