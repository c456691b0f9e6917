"""How small models get: CIFAR-10 samples to a ratio, and the weights of the zoo with every bit kept.

    python benchmarks/model_size.py lossy CIFAR_FOLDER --models resnet8 mobilenet --ratio 10 --epochs 2
    python benchmarks/model_size.py lossless ZOO_FOLDER

`lossy` compresses as `optc compress --ratio` does, trains on the 50,000 training images without their labels, and
scores the decompressed model on the 10,000 test images. `lossless` codes the float32 weights of each model, and the
same rounded to bfloat16, and decodes them with two threads (the fastest of five). Both write MODEL_SIZE.md from all
that was measured so far.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.cifar10 import SAMPLES, test_set, training_images
from optc.driver.compression.archive import (
    SMALLEST_IN_PLANES,
    all_tensors,
    decode_tensors,
    pack,
    read_header,
    tensors_of,
    unpack,
)
from optc.driver.compression.compress import compress
from optc.driver.quantization.acceptance import hits
from optc.driver.quantization.data import Data
from optc.frontends import load_model

RUNS = 5
THREADS = 2
HERE = Path(__file__).resolve().parent


def lossy(name: str, folder: Path, ratio: float, epochs: float) -> dict[str, Any]:
    """One sample model to a ratio."""
    import torch

    torch.set_num_threads(1)
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX: keep large arrays instead of giving them back
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    path = SAMPLES / f"cifar10_{name}.onnx"
    training = training_images(folder)
    order = np.random.default_rng(0).permutation(len(training))
    with tempfile.TemporaryDirectory() as scratch:
        shuffled = Path(scratch) / "pixels.npy"
        np.save(shuffled, training[order])
        del training
        start = time.monotonic()
        show = lambda *state: print(*state, flush=True) if state[1] % 100 == 0 else None  # noqa: E731
        found = compress(path, ratio, shuffled, epochs=epochs, progress=show)
        seconds = time.monotonic() - start
    images, labels = test_set(folder)
    batches = [{"pixels": images[at : at + 500].astype(np.float32)} for at in range(0, len(images), 500)]
    modules = [load_model(path).module, load_model(unpack(found.content, name)).module]
    shares = [100.0 * float(hits(each, Data(batches, each.main.inputs), labels).mean()) for each in modules]
    return {
        "ratio": found.ratio,
        "bytes": len(found.content),
        "before": found.before,
        "bits": found.bits,
        "zeros": found.zeros,
        "epochs": epochs,
        "seconds": seconds,
        "float": shares[0],
        "compressed": shares[1],
    }


def as_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 weights rounded to bfloat16, to be coded only."""
    import ml_dtypes

    graph = onnx.GraphProto()
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
        raw = array.tobytes()
        made = helper.make_tensor(tensor.name, onnx.TensorProto.BFLOAT16, array.shape, raw, raw=True)
        graph.initializer.append(made)
    return helper.make_model(graph)


def weights_of(path: Path) -> onnx.ModelProto:
    """A model of nothing but the float32 tensors that are coded."""
    graph = onnx.GraphProto()
    for number, tensor in enumerate(all_tensors(onnx.load(path).graph)):
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= SMALLEST_IN_PLANES:
            graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor), f"w{number}"))
    return helper.make_model(graph)


def lossless(model: onnx.ModelProto) -> dict[str, float]:
    """Size and speed of the weights of one model."""
    raw = sum(len(tensor.raw_data) for tensor in tensors_of(model))
    start = time.perf_counter()
    content = pack(model)
    encoding = time.perf_counter() - start
    header, at = read_header(content, "benchmark")
    view, parts = memoryview(content), []
    for length in header["parts"]:
        parts.append(view[at : at + length])
        at += length
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        arrays = decode_tensors(header["tensors"], parts[1:], "benchmark", THREADS)
        times.append(time.perf_counter() - start)
    for tensor, array in zip(tensors_of(model), arrays, strict=True):
        assert tensor.raw_data == array.tobytes()
    coded = sum(len(part) for part in parts[1:])
    return {"raw": raw, "coded": coded, "decode": raw / min(times), "encode": raw / encoding}


def text_of(record: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Size",
        "",
        "Written by `benchmarks/model_size.py`.",
        "",
        "## To a ratio (`optc compress --ratio`)",
        "",
        "Trained on the 50,000 training images without labels; scored on the 10,000 test images.",
        "",
        "| model | file | compressed | ratio | bits a weight | zero | fp32 | compressed | lost |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in record.get("lossy", {}).items():
        lines.append(
            f"| {name}, {row['epochs']:g} epochs | {row['before']:,} | {row['bytes']:,} | {row['ratio']:.2f} | "
            f"{row['bits']:.2f} | {row['zeros']:.0%} | {row['float']:.2f}% | {row['compressed']:.2f}% | "
            f"{row['float'] - row['compressed']:+.2f} |"
        )
    lines += [
        "",
        "## With every bit kept (`optc compress`)",
        "",
        f"Float weights of the zoo; decoding with {THREADS} threads in memory, checksums included.",
        "",
        "| model | float32 off | GB/s | bfloat16 off | GB/s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    rows = record.get("lossless", {})
    for name, row in rows.items():
        cells = [
            f"{1 - row[kind]['coded'] / row[kind]['raw']:.1%} | {row[kind]['decode'] / 1e9:.2f}"
            for kind in ("float32", "bfloat16")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if rows:
        cells = []
        for kind in ("float32", "bfloat16"):
            raw, coded = (sum(row[kind][part] for row in rows.values()) for part in ("raw", "coded"))
            seconds = sum(row[kind]["raw"] / row[kind]["decode"] for row in rows.values())
            cells.append(f"**{1 - coded / raw:.1%}** | **{raw / seconds / 1e9:.2f}**")
        lines.append(f"| all | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lossy", "lossless"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="*", default=["resnet8", "mobilenet"])
    parser.add_argument("--ratio", type=float, default=10.0)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--record", type=Path, default=HERE.parent / "build" / "model_size.json")
    parser.add_argument("--out", type=Path, default=HERE / "MODEL_SIZE.md")
    options = parser.parse_args()
    names = options.models if options.what == "lossy" else sorted(path.stem for path in options.folder.glob("*.onnx"))
    for name in names:
        if options.what == "lossy":
            row: dict[str, Any] = lossy(name, options.folder, options.ratio, options.epochs)
        else:
            weights = weights_of(options.folder / f"{name}.onnx")
            row = {"float32": lossless(weights), "bfloat16": lossless(as_bfloat16(weights))}
        print(name, row, flush=True)
        record = json.loads(options.record.read_text()) if options.record.exists() else {}
        record.setdefault(options.what, {})[name] = row
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text(json.dumps(record, indent=1))
        options.out.write_text(text_of(record))


if __name__ == "__main__":
    main()
