"""Bottlenecks and early exits of the CIFAR-10 samples against other ways to send less and to compute less.

    python -m benchmarks.bottleneck inputs features bottlenecks socket --work build/split_cifar10

Needs what `samples/split_cifar10.py` left in `--work`. Every part adds its figures to `--work`/bottleneck.json, from
which the tables of BOTTLENECK.md are. Accuracy is over the 10,000 test images, bytes are means over them; those of
quantized features are of the first 2,000.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "samples"))

import split_cifar10 as sample  # noqa: E402
from cifar10_data import Cifar10, load_cifar10  # noqa: E402

from optc.driver.split.learning.deployment import coded_sizes, codes_of, learned_frequencies  # noqa: E402
from optc.driver.split.learning.section import Section, value_named  # noqa: E402
from optc.frontends import load_model  # noqa: E402

NAMES = ("resnet8", "mobilenet")
JPEG = [(90, 0), (90, 2)]
WEBP = (75, 85, 90, 97, 99, 100)
FEATURE_SIZES = 2000
"""Test images whose quantized features are coded; accuracy is over all."""

FEATURE_BITS = (2, 3, 4, 6, 8)

TABLES = 2048
"""Training images that the tables of codes are counted on."""


class Results:
    """Figures by part, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def keep(self, part: str, key: str, value: Any) -> None:
        """Add or replace one figure."""
        if self.path.exists():  # another part may have run meanwhile
            self.parts = json.loads(self.path.read_text())
        self.parts.setdefault(part, {})[key] = value
        self.path.write_text(json.dumps(self.parts, indent=1) + "\n")
        print(part, key, json.dumps(value), flush=True)


def correct(name: str, images: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of a sample network under onnxruntime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(ROOT / f"samples/models/cifar10_{name}.onnx", options)
    starts = range(0, len(images), 500)
    scores = [session.run(None, {"pixels": images[at : at + 500].astype(np.float32)})[0] for at in starts]
    return float((np.concatenate(scores).argmax(1) == labels).mean())


def input_codings() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What is called how, the format, and its options."""
    yield "PNG", "PNG", {"optimize": True}
    yield "WebP lossless", "WEBP", {"lossless": True, "quality": 75, "method": 4}
    for quality in WEBP:
        yield f"WebP {quality}", "WEBP", {"quality": quality, "method": 6}
    for quality, sampling in JPEG:
        text = "4:2:0" if sampling else "4:4:4"
        yield f"JPEG {quality} {text}", "JPEG", {"quality": quality, "subsampling": sampling, "optimize": True}


def measure_inputs(data: Cifar10, results: Results, work: Path) -> None:
    """Bytes of coded images, and what the networks make of them."""
    from PIL import Image

    images, labels = data.test_images.numpy(), data.test_labels.numpy()
    known = results.parts.get("inputs", {})
    for key, kind, options in input_codings():
        if key in known:
            continue
        decoded, size = np.empty_like(images), 0
        for place, image in enumerate(images.transpose(0, 2, 3, 1)):
            file = io.BytesIO()
            Image.fromarray(image).save(file, kind, **options)
            size += file.tell()
            file.seek(0)
            decoded[place] = np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1)
        accuracies = {name: correct(name, decoded, labels) for name in NAMES}
        results.keep("inputs", key, {"bytes": size / len(images), **accuracies})
    for name in NAMES:
        if name not in results.parts.get("original", {}):
            results.keep("original", name, correct(name, images, labels))


def measure_features(data: Cifar10, results: Results, work: Path) -> None:
    """Per-channel quantization of the network's own features, coded losslessly: no training."""
    for name in NAMES:
        for cut in (sample.CUTS[name].resume, sample.CUTS[name].cut):
            if f"{name} {cut} {FEATURE_BITS[-1]}" not in results.parts.get("features", {}):
                for bits, entry in zip(FEATURE_BITS, _quantized(name, cut, data), strict=True):
                    results.keep("features", f"{name} {cut} {bits}", entry)


def _quantized(name: str, cut: str, data: Cifar10) -> list[dict[str, float]]:
    """Bytes and accuracy of one network's features at one cut, for each number of bits."""
    from optc.runtime.split.codec.affine import Affine

    graph = load_model(ROOT / f"samples/models/cifar10_{name}.onnx").module.main
    value = value_named(graph, cut)
    front, rest = Section(graph, graph.inputs, [value]), Section(graph, [value], graph.outputs)
    with torch.no_grad():
        training = torch.cat([front(part.float()) for part in data.train_images[:512].split(256)]).numpy()
    low, high = training.min((0, 2, 3)), training.max((0, 2, 3))
    tables = [learned_frequencies(_static_codes(training, low, high, bits)) for bits in FEATURE_BITS]
    batch = 500
    parts: list[list[tuple[float, ...]]] = [[] for _ in FEATURE_BITS]
    for at in range(0, len(data.test_images), batch):
        with torch.no_grad():
            values = front(data.test_images[at : at + batch].float()).numpy()
        labels = data.test_labels[at : at + batch].numpy()
        for place, bits in enumerate(FEATURE_BITS):
            codec = Affine(bits, values.dtype, (1, *values.shape[1:]))
            coded = [codec.encode(part[None]) for part in values]
            decoded = np.concatenate([codec.decode(each) for each in coded])
            static = _static_codes(values, low, high, bits)
            found = [_accuracy(rest, decoded, labels), _accuracy(rest, _of_codes(static, low, high, bits), labels)]
            sizes = [np.mean([memoryview(each).nbytes for each in coded])]
            if at < FEATURE_SIZES:
                sizes.append(coded_sizes(static, tables[place]).mean())
            parts[place].append((*found, *sizes))
    results = []
    for measured in parts:
        coded_part = [each for each in measured if len(each) > 3]
        results.append(
            {
                "images": len(data.test_images),
                "zstd bytes": float(np.mean([each[2] for each in measured])),
                "zstd accuracy": float(np.mean([each[0] for each in measured])),
                "rans bytes": float(np.mean([each[3] for each in coded_part])),
                "rans accuracy": float(np.mean([each[1] for each in measured])),
            }
        )
    return results


def _static_codes(values: np.ndarray, low: np.ndarray, high: np.ndarray, bits: int) -> np.ndarray:
    """Codes over a range of each channel that was found on training images."""
    span = np.maximum(high - low, 1e-6)[:, None, None]
    codes = np.rint((values - low[:, None, None]) / span * (2**bits - 1))
    return (np.clip(codes, 0, 2**bits - 1) - 2 ** (bits - 1)).astype(np.int8)


def _of_codes(codes: np.ndarray, low: np.ndarray, high: np.ndarray, bits: int) -> np.ndarray:
    span = np.maximum(high - low, 1e-6)[:, None, None]
    whole = codes.astype(np.float32) + 2 ** (bits - 1)
    return (whole / (2**bits - 1) * span + low[:, None, None]).astype(np.float32)


@torch.no_grad()
def _accuracy(rest: Callable[[Tensor], Tensor], values: np.ndarray, labels: np.ndarray) -> float:
    parts = torch.from_numpy(values).split(500)
    return float((torch.cat([rest(part).argmax(1) for part in parts]).numpy() == labels).mean())


def trained(name: str, data: Cifar10, work: Path) -> Iterator[tuple[str, Any]]:
    """The bottlenecks that training left."""
    if (work / f"{name}.bottleneck.pt").exists():
        yield sample.first_stage(name), sample.bottleneck(name, data, work)
    for weight in sample.CUTS[name].weights:
        if (work / f"{name}.rate{weight}.pt").exists():
            yield f"entropic {weight}", sample.rated(name, data, work, weight)


def coded_figures(codes: np.ndarray, learned: np.ndarray) -> dict[str, float]:
    """Bytes of each image's codes, with tables that are counted on other images' codes."""
    sizes = coded_sizes(codes, learned_frequencies(learned))
    return {"bytes": float(sizes.mean()), "p95": float(np.percentile(sizes, 95))}


def measure_bottlenecks(data: Cifar10, results: Results, work: Path) -> None:
    """Coded bytes of each image, and the answers from what is decoded."""
    labels = data.test_labels.numpy()
    for name in sample.CUTS:
        for key, model in trained(name, data, work):
            if f"{name} {key}" in results.parts.get("bottlenecks", {}):
                continue
            codes = codes_of(model, data.test_images)
            figures = coded_figures(codes, codes_of(model, data.train_images[:TABLES]))
            accuracy = _accuracy(model.decoded, codes.astype(np.float32), labels)
            results.keep("bottlenecks", f"{name} {key}", {**figures, "accuracy": accuracy})


def measure_socket(data: Cifar10, results: Results, work: Path) -> None:
    """Every trained bottleneck through a real client and a real server on this machine, with onnxruntime's halves."""
    import tempfile

    from benchmarks.bottleneck_socket import exchange, write_split
    from optc.driver.split.learning.deployment import trained_way

    images, labels = data.test_images, data.test_labels.numpy()
    for name in sample.CUTS:
        for key, model in trained(name, data, work):
            if f"{name} {key}" in results.parts.get("socket", {}):
                continue
            with tempfile.TemporaryDirectory() as folder:
                write_split(Path(folder), [trained_way(model, data.train_images[:TABLES], "narrow")])
                results.keep("socket", f"{name} {key}", exchange(Path(folder), "narrow", images, labels))


PARTS: dict[str, Callable[[Cifar10, Results, Path], None]] = {
    "inputs": measure_inputs,
    "features": measure_features,
    "bottlenecks": measure_bottlenecks,
    "socket": measure_socket,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "cifar10", help="the download")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "split_cifar10", help="what training left")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, results = load_cifar10(options.data), Results(options.work / "bottleneck.json")
    for part in options.parts:
        started = time.monotonic()
        PARTS[part](data, results, options.work)
        print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
