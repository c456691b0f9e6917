"""BOTTLENECK.md from the figures that benchmarks/bottleneck.py and benchmarks/exit_times.py keep.

python -m benchmarks.bottleneck_page --work build/split_cifar10 --large build/large/large.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).resolve().parent / "BOTTLENECK.md"
NETWORKS = ("mobilenet", "resnet8")
"""Names of cuts begin with the name of their network."""

TEST_IMAGES = 10000

Figures = Mapping[str, Any]


def network_of(name: str) -> str:
    """The network of a bottleneck, a quantized value or an exit."""
    return next(network for network in NETWORKS if name.startswith(network))


def picture_bytes(figures: Figures, network: str, accuracy: float) -> float:
    """Of the best picture coding at an accuracy: what mixing two of them takes, at best; infinite above all."""
    return best_coding([(each["bytes"], each[network]) for each in figures["inputs"].values()], accuracy)


def best_coding(points: Sequence[tuple[float, float]], accuracy: float) -> float:
    """`picture_bytes` of codings, given as pairs of bytes and accuracy."""
    found = [size for size, reached in points if reached >= accuracy]
    for size, reached in points:
        for other, better in points:
            if reached < accuracy <= better:
                found.append(size + (other - size) * (accuracy - reached) / (better - reached))
    return min(found, default=float("inf"))


def curve(figures: Figures, network: str) -> list[tuple[float, float]]:
    """Bytes and accuracy of the trained bottlenecks that no other beats in both."""
    points = sorted(
        (each["bytes"], each["accuracy"])
        for name, each in figures["bottlenecks"].items()
        if network_of(name) == network and "BottleFit" not in name
    )
    best: list[tuple[float, float]] = []
    for size, accuracy in points:
        if not best or accuracy > best[-1][1]:
            best.append((size, accuracy))
    return best


def quantized(figures: Figures, network: str) -> Iterator[tuple[str, float, float]]:
    """Of the network's quantized features: what, bytes and accuracy."""
    for name, each in figures["features"].items():
        if network_of(name) == network and each["images"] == TEST_IMAGES:
            for coding in ("rans", "zstd"):
                yield f"{name} bits, {coding}", each[f"{coding} bytes"], each[f"{coding} accuracy"]


def margins(figures: Figures, network: str) -> list[tuple[str, float, float, float]]:
    """For each point of quantized features: what, bytes, accuracy, and the best trained accuracy in no more bytes."""
    known = curve(figures, network)
    rows = []
    for what, size, accuracy in sorted(quantized(figures, network), key=lambda row: row[1]):
        reached = [best for bytes_, best in known if bytes_ <= size]
        rows.append((what, size, accuracy, max(reached, default=0.0)))
    return rows


def _percent(share: float) -> str:
    return f"{share:.2%}"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """The first column is text, the others are figures."""
    yield f"| {' | '.join(head)} |"
    yield f"| --- {'| ---: ' * (len(head) - 1)}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _pictures(figures: Figures) -> Iterator[tuple[str, ...]]:
    for name, each in sorted(figures["inputs"].items(), key=lambda item: item[1]["bytes"]):
        yield name, f"{each['bytes']:.0f}", _percent(each["resnet8"]), _percent(each["mobilenet"])


def _bottlenecks(figures: Figures) -> Iterator[tuple[str, ...]]:
    for name, each in sorted(figures["bottlenecks"].items()):
        network = network_of(name)
        lost = 100 * (figures["original"][network] - each["accuracy"])
        sent = figures.get("socket", {}).get(name)
        few = f" (first {sent['images']})" if sent and sent["images"] < TEST_IMAGES else ""
        wire = f"{sent['sent']:.1f}{few}" if sent else "not measured"
        picture = picture_bytes(figures, network, each["accuracy"])
        known = (f"{picture:.0f}", f"{1 - each['bytes'] / picture:.1%}") if np.isfinite(picture) else ("none", "")
        payload = (f"{each['bytes']:.1f}", f"{each['p95']:.0f}", wire)
        yield name, _percent(each["accuracy"]), f"{lost:.2f}", *payload, *known


def _features(figures: Figures) -> Iterator[tuple[str, ...]]:
    for name, each in sorted(figures["features"].items()):
        value, bits = name.rsplit(" ", 1)
        if each["images"] < TEST_IMAGES:
            value += f" (first {each['images']})"
        both = [(f"{each[f'{kind} bytes']:.0f}", _percent(each[f"{kind} accuracy"])) for kind in ("zstd", "rans")]
        yield value, bits, *both[0], *both[1]


def _margins(figures: Figures) -> Iterator[tuple[str, ...]]:
    for network in NETWORKS:
        for what, size, accuracy, best in margins(figures, network):
            yield what, f"{size:.0f}", _percent(accuracy), _percent(best), f"{100 * (best - accuracy):+.2f}"


def _rules(figures: Figures) -> Iterator[tuple[str, ...]]:
    for name, each in sorted(figures["exit rules"].items()):
        key, confidence = name.split(", ")
        leaves = (_percent(each["leaves calibrated"]), _percent(each["leaves"]))
        yield key, confidence, *leaves, _percent(each["accuracy"]), f"{100 * each['drop']:.2f}"


def _times(figures: Figures) -> Iterator[tuple[str, ...]]:
    for name, each in sorted(figures["exit times"].items()):
        times = (f"{each['plain us']:.1f}", f"{each['exit us']:.1f}", f"{each['saved']:.1%}")
        lost = 100 * (each["plain accuracy"] - each["accuracy"])
        yield name, *times, _percent(each["accuracy"]), f"{lost:.2f}", _percent(each["left early"])


def _large(figures: Figures) -> Iterator[tuple[str, ...]]:
    for name, each in figures["bottlenecks"].items():
        inputs = figures[f"{name.split()[0]} inputs"].values()
        picture = best_coding([(one["bytes"], one["accuracy"]) for one in inputs], each["accuracy"])
        sent = figures["socket"][name]["sent"]
        less = f"{1 - each['bytes'] / picture:.1%}"
        payload = (f"{each['bytes']:.0f}", f"{each['p95']:.0f}", f"{sent:.0f}")
        yield name, _percent(each["accuracy"]), *payload, f"{picture:.0f}", less


def _large_pictures(figures: Figures) -> Iterator[tuple[str, ...]]:
    for part, codings in figures.items():
        if part.endswith(" inputs"):
            for label, each in sorted(codings.items(), key=lambda item: item[1]["bytes"]):
                yield part.removesuffix(" inputs"), label, f"{each['bytes']:.0f}", _percent(each["accuracy"])


def page(figures: Figures, large: Figures) -> str:
    """The whole page, of the figures of the CIFAR-10 samples and of models of large pictures."""
    alone = " and ".join(f"{name} alone {figures['original'][name]:.2%}" for name in NETWORKS)
    lines = [*HEAD.format(alone=alone).splitlines(), ""]
    lines += ["## Pictures in fewer bytes", "", *PICTURES.splitlines(), ""]
    lines += _table(("coding", "bytes", "resnet8", "mobilenet"), _pictures(figures))
    lines += ["## Bottlenecks", "", *BOTTLENECKS.splitlines(), ""]
    head = ("bottleneck", "accuracy", "points lost", "payload", "95% within", "on the socket", "input coding", "less")
    lines += _table(head, _bottlenecks(figures))
    lines += ["## Large pictures", "", *LARGE.splitlines(), ""]
    head = ("bottleneck", "classes kept", "payload", "95% within", "on the socket", "input coding", "less")
    lines += _table(head, _large(large))
    lines += _table(("model", "coding", "bytes", "classes kept"), _large_pictures(large))
    lines += ["## Without training: quantized features", "", *FEATURES.splitlines(), ""]
    lines += _table(("features", "bits", "zstd bytes", "accuracy", "rans bytes", "accuracy"), _features(figures))
    lines += ["## Bottlenecks against quantized features", "", *MARGINS.splitlines(), ""]
    lines += _table(
        ("quantized", "bytes", "accuracy", "bottleneck, in no more bytes", "points more"), _margins(figures)
    )
    lines += ["## Early exits and cascades", "", *EXITS.splitlines(), ""]
    head = ("", "confidence", "leave early, calibrated", "leave early, judged", "accuracy", "points lost")
    lines += _table(head, _rules(figures))
    lines += [*TIMES.splitlines(), ""]
    head = ("", "plain, us", "with exit, us", "saved", "accuracy", "points lost", "leave early")
    lines += _table(head, _times(figures))
    return "\n".join([*lines, *LIMITS.splitlines()]) + "\n"


HEAD = """\
# What trained bottlenecks, early exits and cascades save

Written by `python -m benchmarks.bottleneck_page` from what `benchmarks/bottleneck.py` and `benchmarks/exit_times.py`
measured, after `samples/split_cifar10.py`. Accuracy is over the 10,000 CIFAR-10 test images, bytes are means over them
unless said otherwise: {alone}."""

PICTURES = """\
Pillow; JPEG with optimized tables, WebP with method 6 (lossless: quality 75, method 4, which is smaller here), headers
counted."""

BOTTLENECKS = """\
`payload`: what the arithmetic coder makes of the codes, tables counted on 2,048 training images. `on the socket`: all
bytes from the client to the server divided by the images, hand-shake and frames included, measured by a real client and
server on one machine over the test images; both halves in onnxruntime. `input coding`: bytes of the best picture coding
at the same accuracy, interpolated between the rows above (some pictures in one coding, the others in another)."""

LARGE = """\
EfficientNet-Lite2, trained on ImageNet, at 256x256, by `benchmarks/bottleneck_large.py`. It is cut after a quarter of
its multiplications, and what is there is sent by a transform of blocks that is fitted in closed form to 120 pictures:
nothing is trained. `classes kept`: of 400 crops of photographs of which the model is sure (a probability of at least
one half), none of which the transform has seen, how many keep their class. The other columns are as above."""

FEATURES = """\
The network's own features at the cut, in 2 to 8 bits with a range a channel. `zstd`: the encodings `q2` to `q8` (a
range for each image); `rans`: ranges and tables from training images, arithmetic coding, bytes over 2,000 images."""

MARGINS = """\
For each point of that table over all test images: the best bottleneck of the same network (entropic, or a fitted
transform) in no more bytes."""

EXITS = """\
Each half of the test images is judged by thresholds that were calibrated on the other half, for at most 0.3 points lost
there: neither the networks nor the exits have learned from these images. `the best` confidence lets most leave early
where it is calibrated; that is compiled."""

TIMES = """\
Native artifacts, batch 1, one thread, all 10,000 test images in turns with the plain network, each half under the
thresholds of the other, median of three rounds; accuracy is of the artifacts' own answers. In all, the rest stands in a
branch and is not executed."""

LIMITS = """\
## What to know about these figures

* Late cuts leave more to the device: `resnet8_late` 8.8 of 12.5 million multiplications and 1.2 of its encoder,
  `mobilenet_late` 4.0 of 15.4 and 0.6. Earlier cuts (`resnet8`, `mobilenet`) lose a point or more.
* A frame adds about 69 bytes to a payload (header, seal, tensor head), as it would to a picture.
* Above about 3,000 bytes quantized features lose a tenth of a point or less, and so do the wide ways: there two codings
  differ by a few of 10,000 images, which is chance.
* Training was short: 24 epochs for `resnet8_late`, 6 and 4 for `mobilenet_late`, one to three for the wide ways. A rate
  of 0.001 for `resnet8_wide`, in place of 0.0003, lost half a point.
* The exit reads the input and shares nothing with the network; that of resnet8 is the one that mobilenet taught. The
  bound of 0.3 points was chosen after one of 0.4 had cost the exit of mobilenet 0.51 on the other halves.
* Artifacts with exits are compiled and measured on an idle machine: of those that were compiled beside other work the
  cascade saved 24%.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of bottleneck.json")
    parser.add_argument("--large", type=Path, required=True, help="large.json of benchmarks/bottleneck_large.py")
    options = parser.parse_args()
    PAGE.write_text(
        page(json.loads((options.work / "bottleneck.json").read_text()), json.loads(options.large.read_text()))
    )


if __name__ == "__main__":
    main()
