"""Train what split computing needs for the two CIFAR-10 networks of this folder: bottlenecks and early exits.

    python samples/split_cifar10.py resnet8 mobilenet --parts bottleneck rates

Everything is distilled from the trained networks in models/. One thread of one core is enough; an interrupted run
continues from its last finished epoch. Needs what train_cifar10.py needs. Writes checkpoints to build/split_cifar10.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from cifar10_data import Cifar10, load_cifar10
from torch import Tensor

from optc.backends.interface import Progress
from optc.driver.split.learning.bottleneck import BottleFit, Bottleneck, compress, train_bottleneck
from optc.driver.split.learning.exits import EarlyExit, train_exit
from optc.driver.split.learning.loop import Samples, Schedule
from optc.driver.split.learning.transform import fit_transform
from optc.driver.split.learning.writing import whole

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Cut:
    """Where a network is cut, and how long its bottleneck is trained.

    Attributes:
        network: of models/.
        cut, resume: values of its ONNX file.
        halvings: of height and width by the encoder.
        epochs: of distillation from end to end with few levels; 0: the first trade begins with what was fitted.
        channels: of the codes.
        weights: of a thousand bits in the loss: trades of bytes for accuracy, each after the one before.
        rate_epochs: of the first trade, and of each later one.
        rate: of Adam in the first trade; half of it in later ones.
        step: of a transform as it is fitted; None: the encoder has convolutions.
        mixing: whether the transform is of principal components, or of each channel by itself.
        fixed_front: the device's layers stay as they are.
    """

    network: str
    cut: str
    resume: str
    halvings: int
    epochs: int
    channels: int
    weights: tuple[float, ...]
    rate_epochs: tuple[int, int]
    rate: float = 2e-3
    step: float | None = None
    mixing: bool = True
    fixed_front: bool = False


CUTS = {
    "resnet8": Cut("resnet8", "relu_2", "relu_4", 2, 10, 12, (0.05, 0.3, 1.0), (6, 1)),
    "resnet8_late": Cut("resnet8", "relu_4", "relu_4", 1, 4, 10, (0.05, 0.3), (24, 1)),
    "resnet8_wide": Cut("resnet8", "relu_4", "relu_4", 0, 0, 32, (0.01,), (3, 1), 3e-4, step=1.2, mixing=False),
    "resnet8_finer": Cut(
        "resnet8", "relu_4", "relu_4", 0, 0, 32, (0.001,), (1, 1), 2e-4, step=0.75, mixing=False, fixed_front=True
    ),
    "resnet8_finest": Cut(
        "resnet8", "relu_4", "relu_4", 0, 0, 32, (0.001,), (1, 1), 2e-4, step=0.5, mixing=False, fixed_front=True
    ),
    "mobilenet": Cut("mobilenet", "add_232", "getitem_33", 1, 8, 12, (0.2,), (1, 1)),
    "mobilenet_late": Cut(
        "mobilenet", "getitem_33", "getitem_33", 1, 0, 96, (0.05, 0.03), (6, 4), step=0.3, fixed_front=True
    ),
    "mobilenet_wide": Cut(
        "mobilenet", "getitem_33", "getitem_33", 1, 0, 192, (0.002,), (1, 1), 2e-4, step=0.06, fixed_front=True
    ),
    "mobilenet_finest": Cut(
        "mobilenet", "getitem_33", "getitem_33", 1, 0, 384, (0.0005,), (1, 1), 2e-4, step=0.025, fixed_front=True
    ),
}
LEVELS = 4
FITTED = 4000
"""Training images that transforms are fitted to."""


@dataclass(frozen=True)
class Exit:
    """Where one network may stop, and how long its exit is trained; other fields as for `EarlyExit`.

    Attributes:
        like: another network, whose exit reads the same values: its head is taken as it was trained there.
    """

    at: str
    blocks: tuple[tuple[int, int], ...]
    stem: tuple[int, int] | None
    epochs: int = 0
    like: str | None = None


EXITS = {
    "resnet8": Exit("div", ((48, 2), (64, 1), (64, 2)), stem=(32, 2), like="mobilenet"),
    "mobilenet": Exit("div", ((48, 2), (64, 1), (64, 2)), stem=(32, 2), epochs=20),
}
DISTINCT = 4
"""Epochs after which an exit sees the same flips and crops again: the network's scores are computed for these only."""

PARTS = ("bottleneck", "rates", "exit")


def flips_and_crops(images: Tensor, random: torch.Generator) -> Tensor:
    """Horizontal flips, and crops of 32x32 out of the image padded by 4."""
    count, span = len(images), torch.arange(32)
    padded = F.pad(images.float(), (4,) * 4, mode="reflect").permute(0, 2, 3, 1)
    top, left = torch.randint(0, 9, (2, count, 1), generator=random)
    flip = torch.rand(count, 1, generator=random) < 0.5
    rows, columns = top + span, left + torch.where(flip, span.flip(0), span)
    index = torch.arange(count).view(-1, 1, 1)
    return padded[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def build(name: str) -> Bottleneck:
    """The bottleneck of one network, untrained."""
    torch.manual_seed(0)
    cut = CUTS[name]
    model = Bottleneck.of(
        HERE / "models" / f"cifar10_{cut.network}.onnx",
        cut.cut,
        cut.resume,
        channels=cut.channels,
        halvings=cut.halvings,
        levels=LEVELS if cut.step is None else 256,
        kind="convolutions" if cut.step is None else "transform",
        fixed_front=cut.fixed_front,
    )
    return model.to(memory_format=torch.channels_last)


def first_stage(name: str) -> str:
    """What a bottleneck is called before bytes are traded."""
    return "BottleFit" if CUTS[name].step is None else "fitted"


@torch.no_grad()
def accuracy(predict: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    """The share of images that are classified rightly."""
    predicted = torch.cat([predict(part.float()).argmax(1) for part in images.split(500)])
    return float((predicted == labels).float().mean())


def reporter(every: int = 100) -> Progress:
    """Prints how far a training is."""
    started = time.monotonic()

    def report(what: str, done: int, total: int, detail: str = "", /) -> None:
        if done % every == 0 or done == total:
            print(f"{time.monotonic() - started:6.0f} s {what} {done}/{total} {detail}", flush=True)

    return report


def bottleneck(name: str, data: Cifar10, work: Path) -> Bottleneck:
    """The trained bottleneck."""
    cut, model, path = CUTS[name], build(name), work / f"{name}.bottleneck.pt"
    if not path.exists():
        samples = Samples(data.train_images, data.train_labels, flips_and_crops)
        if cut.step is not None:
            fit_transform(model, data.train_images[:FITTED], cut.step, mixing=cut.mixing)
        recipe = BottleFit(Schedule(int(cut.step is None), bfloat16=True), Schedule(cut.epochs, bfloat16=True))
        train_bottleneck(model, samples, recipe, checkpoint=work / f"{name}.bottleneck.part", progress=reporter())
        torch.save(model.state_dict(), path)
        report(work, f"{name}.bottleneck", accuracy(model, data.test_images, data.test_labels))
    model.load_state_dict(torch.load(path))
    return model.eval()


def rated(name: str, data: Cifar10, work: Path, weight: float) -> Bottleneck:
    """The trained bottleneck, with bytes traded for accuracy; begins with what the weight before it has learned."""
    weights = CUTS[name].weights
    place = weights.index(weight)
    model, path = build(name), work / f"{name}.rate{weight}.pt"
    if not path.exists():
        before = rated(name, data, work, weights[place - 1]) if place else bottleneck(name, data, work)
        model.load_state_dict(before.state_dict())
    model.levels = 256
    if not path.exists():
        samples = Samples(data.train_images, data.train_labels, flips_and_crops)
        epochs = CUTS[name].rate_epochs[min(place, 1)]
        rate = CUTS[name].rate / (1 if place == 0 else 2)
        schedule = Schedule(epochs, rate=rate, trained_rate=rate / 4, bfloat16=True, seed=place + 1)
        part = work / f"{name}.rate{weight}.part"
        compress(model, samples, weight, schedule, checkpoint=part, progress=reporter())
        torch.save(model.state_dict(), path)
        report(work, f"{name}.rate{weight}", accuracy(model, data.test_images, data.test_labels))
    model.load_state_dict(torch.load(path))
    return model.eval()


def early_exit(name: str, data: Cifar10, work: Path) -> EarlyExit:
    """The network with a trained exit."""
    torch.manual_seed(0)
    made, path = EXITS[name], work / f"{name}.exit.pt"
    model = EarlyExit.of(HERE / "models" / f"cifar10_{name}.onnx", made.at, made.blocks, made.stem)
    model = model.to(memory_format=torch.channels_last)
    if not path.exists() and made.like is not None:
        model.head.load_state_dict(early_exit(made.like, data, work).head.state_dict())
        torch.save(model.state_dict(), path)
    if not path.exists():
        samples = Samples(data.train_images, data.train_labels, flips_and_crops)
        schedule = Schedule(made.epochs, rate=5e-3, bfloat16=True, distinct=DISTINCT)
        train_exit(model, samples, schedule, checkpoint=work / f"{name}.exit.part", progress=reporter())
        torch.save(model.state_dict(), path)
        report(work, f"{name}.exit", accuracy(lambda x: model(x)[0], data.test_images, data.test_labels))
    model.load_state_dict(torch.load(path))
    return model.eval()


def export(name: str, data: Cifar10, work: Path) -> None:
    """Write the bottleneck of a network as one model, whose value `codes` crosses the link."""
    path = HERE / "models" / f"cifar10_{CUTS[name].network}_bottleneck.onnx"
    path.write_bytes(whole(rated(name, data, work, CUTS[name].weights[0]), batch=1).SerializeToString())
    print(f"{path.name}: {path.stat().st_size} bytes")


def report(work: Path, key: str, value: float) -> None:
    """Keep an accuracy on the 10,000 test images in accuracy.json."""
    path = work / "accuracy.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, key: value}, indent=2) + "\n")
    print(f"{key}: {value:.2%} of the test images", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"networks, of {', '.join(CUTS)} (default: both)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--export", nargs="*", default=(), metavar="NAME", help="bottlenecks to write to models/")
    parser.add_argument("--data", type=Path, default=HERE.parent / "build" / "cifar10", help="the download")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "split_cifar10", help="checkpoints")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # glibc returns every large activation to the system by default; keeping them halves the time of a step.
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    data = load_cifar10(options.data)
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.names or CUTS:
        if "bottleneck" in options.parts:
            bottleneck(name, data, options.work)
        if "rates" in options.parts:
            for weight in CUTS[name].weights:
                rated(name, data, options.work, weight)
        if "exit" in options.parts and name in EXITS:
            early_exit(name, data, options.work)
        if name in options.export:
            export(name, data, options.work)


if __name__ == "__main__":
    main()
