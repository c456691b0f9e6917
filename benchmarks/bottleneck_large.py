"""Bottlenecks in trained models of large pictures: fitting, and figures against the best picture coding.

    python -m benchmarks.bottleneck_large inputs bottlenecks socket --work build/large

Nothing is labelled: accuracy is the share of pictures that keep the class which the model gives to the picture as it
is, over crops of photographs of which the model is sure (a probability of at least `SURE`). benchmarks/pictures.py says
where these come from. Each part adds its figures to `--work`/large.json.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from benchmarks.bottleneck import Results, coded_figures
from benchmarks.large_models import LARGE, PIXELS
from benchmarks.pictures import crops, photographs
from optc.driver.split.learning.bottleneck import Bottleneck
from optc.driver.split.learning.deployment import codes_of
from optc.driver.split.learning.transform import fit_transform
from optc.driver.split.learning.writing import CODES, halves

TRAINING, CANDIDATES, TEST = 4000, 1600, 400
"""Crops to learn from, crops of which the model may be sure, and of these, at most so many that are judged by."""

FITTED, TABLES = 120, 256
"""Training crops that transforms are fitted to, each of hundreds of blocks, and that codes are counted on."""

SENT = 100
"""Crops that are sent through a socket."""

SURE = 0.5
CODINGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("WebP lossless", "WEBP", {"lossless": True, "quality": 75, "method": 4}),
    *((f"JPEG {quality}", "JPEG", {"quality": quality, "optimize": True}) for quality in (30, 60, 90)),
    *(
        (f"JPEG {quality} 4:4:4", "JPEG", {"quality": quality, "subsampling": 0, "optimize": True})
        for quality in (90, 95, 98)
    ),
    *((f"WebP {quality}", "WEBP", {"quality": quality, "method": 4}) for quality in (30, 60, 80, 90, 95, 98, 100)),
)


def pictures(name: str, work: Path, test: bool) -> np.ndarray:
    """Crops to learn from, or to judge by: uint8 [n, 3, side, side]."""
    path = work / f"{name}.crops.{'test' if test else 'training'}.npy"
    if not path.exists():
        count = CANDIDATES if test else TRAINING
        found = crops(photographs(work)[test], count, LARGE[name].side, seed=int(test))
        np.save(path, found[answers(name, found, work)[:, 0] >= SURE][:TEST] if test else found)
    return np.load(path)


def original(name: str, work: Path) -> Path:
    """The file of a model."""
    path = work / f"{name}.onnx"
    if not path.exists():
        onnx.save(LARGE[name].build(work / "wheels"), path)
    return path


def bottlenecks(name: str, work: Path) -> Iterator[tuple[str, Bottleneck]]:
    """The bottlenecks of a model: fitted in closed form at first, and then kept."""
    for step in LARGE[name].steps:
        model, path = LARGE[name].bottleneck(original(name, work)), work / f"{name}.fitted{step:g}.pt"
        if not path.exists():
            fit_transform(model, torch.from_numpy(pictures(name, work, test=False)[:FITTED]), step, batch=16)
            torch.save(model.state_dict(), path)
        model.load_state_dict(torch.load(path))
        yield f"{name} fitted {step:g}", model.eval()


def session(model: bytes | str) -> Any:
    """Of onnxruntime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options)


def answers(name: str, arrays: np.ndarray, work: Path) -> np.ndarray:
    """What a model gives for pictures [n, ...]."""
    run = session(str(original(name, work)))
    return np.concatenate([run.run(None, {PIXELS: each[None].astype(np.float32)})[0] for each in arrays])


def reference(name: str, work: Path) -> np.ndarray:
    """What a model gives for the pictures that are judged by, as they are."""
    path = work / f"{name}.reference.npy"
    if not path.exists():
        np.save(path, answers(name, pictures(name, work, test=True), work))
    return np.load(path)


def agreement(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """The share of pictures whose best class is the same in two sets of answers, and how many pictures there are."""
    best = found.shape[1] // 2
    return {"accuracy": float((found[:, best] == wanted[:, best]).mean()), "pictures": len(found)}


def measure_inputs(name: str, results: Results, work: Path) -> None:
    """Bytes of coded pictures, and what the model makes of them."""
    from PIL import Image

    arrays, wanted = pictures(name, work, test=True), reference(name, work)
    for label, kind, options in CODINGS:
        if label in results.parts.get(f"{name} inputs", {}):
            continue
        decoded, size = np.empty_like(arrays), 0
        for place, array in enumerate(arrays.transpose(0, 2, 3, 1)):
            file = io.BytesIO()
            Image.fromarray(array).save(file, kind, **options)
            size += file.tell()
            file.seek(0)
            decoded[place] = np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1)
        exact = np.array_equal(decoded, arrays)
        judged = agreement(wanted if exact else answers(name, decoded, work), wanted)
        results.keep(f"{name} inputs", label, {"bytes": size / len(arrays), **judged})


def measure_bottlenecks(name: str, results: Results, work: Path) -> None:
    """Coded bytes of each picture, and the answers of the server's half from what is decoded, in onnxruntime."""
    arrays, wanted = torch.from_numpy(pictures(name, work, test=True)), reference(name, work)
    learned = None
    for stage, model in bottlenecks(name, work):
        if stage in results.parts.get("bottlenecks", {}):
            continue
        if learned is None:
            learned = torch.from_numpy(pictures(name, work, test=False)[:TABLES])
        codes = codes_of(model, arrays, batch=16)
        figures = coded_figures(codes, codes_of(model, learned, batch=16))
        run = session(halves(model, batch=1)[1].SerializeToString())
        found = np.concatenate([run.run(None, {CODES: each[None]})[0] for each in codes])
        results.keep("bottlenecks", stage, {**figures, **agreement(found, wanted)})


def measure_socket(name: str, results: Results, work: Path) -> None:
    """Every trained bottleneck through a real client and a real server on this machine, with onnxruntime's halves."""
    import tempfile

    from benchmarks.bottleneck_socket import exchange_all, write_split
    from optc.driver.split.learning.deployment import trained_way

    arrays: Tensor = torch.from_numpy(pictures(name, work, test=True)[:SENT])
    learned = torch.from_numpy(pictures(name, work, test=False)[:TABLES])
    wanted = reference(name, work)[:SENT]
    for stage, model in bottlenecks(name, work):
        if stage in results.parts.get("socket", {}):
            continue
        with tempfile.TemporaryDirectory() as folder:
            write_split(Path(folder), [trained_way(model, learned, "narrow")])
            figures, found = exchange_all(Path(folder), "narrow", arrays, PIXELS)
            results.keep("socket", stage, {**figures, **agreement(found, wanted)})


PARTS: dict[str, Callable[[str, Results, Path], None]] = {
    "inputs": measure_inputs,
    "bottlenecks": measure_bottlenecks,
    "socket": measure_socket,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--model", action="append", choices=LARGE, help="only this one; repeatable")
    parser.add_argument("--work", type=Path, required=True, help="folder of downloads, checkpoints and figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    results = Results(options.work / "large.json")
    for name in options.model or LARGE:
        for part in options.parts:
            started = time.monotonic()
            PARTS[part](name, results, options.work)
            print(f"{name} {part}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
