"""Image files as model inputs, with the preprocessing said explicitly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from optc.errors import OptcError

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Preprocessing:
    """How the pixels of an image become numbers: resized, scaled to the range, less the mean, over the deviation.

    Attributes:
        size: (height, width); None keeps an image's own.
        layout: `nchw` or `nhwc`.
        range: what the bytes 0 and 255 become.
        mean: for each channel, in the units of the range.
        std: for each channel.
    """

    size: tuple[int, int] | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    range: tuple[float, float] = (0.0, 255.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def read_image(path: Path, options: Preprocessing, channels: int = 3) -> np.ndarray:
    """One image as float32, channels first or last, without a batch axis.

    Raises:
        OptcError: the file is no image, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as fault:
        raise OptcError("images need Pillow, which is not installed", hint="pip install pillow") from fault
    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
            if options.size is not None:
                image = image.resize((options.size[1], options.size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, np.float32)
    except (OSError, ValueError, SyntaxError) as fault:
        raise OptcError("a calibration image cannot be read", where=str(path), why=str(fault)) from fault
    low, high = options.range
    values = pixels.reshape(*pixels.shape[:2], channels) / np.float32(255) * np.float32(high - low) + np.float32(low)
    normal = (values - np.asarray(options.mean, np.float32)) / np.asarray(options.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1) if options.layout == "nchw" else normal)
