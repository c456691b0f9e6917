"""Two small CIFAR-10 classifiers: float pixels [batch, 3, 32, 32] in 0..255 to logits [batch, 10]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # per channel, over the training pixels


CLASS_COUNT = 10


class Normalize(nn.Module):
    """Pixels 0..255 to zero mean and unit variance per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def conv_bn(
    cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, act: nn.Module | None = None
) -> nn.Module:
    """Convolution with "same" padding, BatchNorm and an optional activation."""
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), *([act] if act else []))


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016); 1x1 convolution on the shortcut when the shape changes."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(cin, cout, 3, stride, act=nn.ReLU(inplace=True)), conv_bn(cout, cout, 3))
        self.shortcut = nn.Identity() if cin == cout and stride == 1 else nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection (Sandler et al. 2018)."""

    def __init__(self, cin: int, cout: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = cin * expand
        self.body = nn.Sequential(
            conv_bn(cin, hidden, 1, act=nn.ReLU6(inplace=True)),
            conv_bn(hidden, hidden, 3, stride, groups=hidden, act=nn.ReLU6(inplace=True)),
            conv_bn(hidden, cout, 1),
        )
        self.skip = cin == cout and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skip else self.body(x)


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASS_COUNT)]


def resnet8() -> nn.Module:
    """The image-classification network of MLPerf Tiny: three residual blocks of 16, 32, 64 channels."""
    stem = conv_bn(3, 16, 3, act=nn.ReLU(inplace=True))
    return nn.Sequential(Normalize(), stem, Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2), *head(64))


def mobilenet() -> nn.Module:
    """A MobileNetV2-style network that leaves 32x32 early, so that most weights work on 8x8 maps."""
    stem = conv_bn(3, 16, 3, act=nn.ReLU6(inplace=True))
    down = nn.Sequential(
        conv_bn(16, 16, 3, 2, groups=16, act=nn.ReLU6(inplace=True)), conv_bn(16, 32, 1, act=nn.ReLU6(inplace=True))
    )
    blocks = [InvertedResidual(32, 32, 1, 2) for _ in range(2)] + [InvertedResidual(32, 96, 2, 2)]
    blocks += [InvertedResidual(96, 96, 1, 2) for _ in range(4)]
    return nn.Sequential(Normalize(), stem, down, *blocks, conv_bn(96, 256, 1, act=nn.ReLU6(inplace=True)), *head(256))
