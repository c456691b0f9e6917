"""Weights whose channels learn how many bits they have, down to none.

After Cséfalvay and Imber, "Self-Compressing Neural Networks" (2023), section 3: what a channel's weights become is a
differentiable function of its bits, so that a price on bits and the loss of the model settle them together. Theirs are
bits of numbers whose unit is learned beside them, so that a bit less halves the range until the unit has followed. Here
the range is what is learned beside them: a bit less doubles the unit, and large weights are not cut off meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from optc.passes.quantization.formats import IntegerFormat
from optc.passes.quantization.weights import QuantizedWeight


class LearnedBits(nn.Module):
    """Weights rounded to the nearest of 2^bits numbers, with a range and bits for each channel; learns all three.

    Attributes:
        values: the weights before they are rounded.
        log_scale: of each channel, the logarithm of the scale that its range has with all bits.
        depth: bits, before they are bounded.

    Args:
        original: the float weights.
        start: their scales and the most bits; without groups, in an integer format.

    Raises:
        ValueError: the format is another.
    """

    def __init__(self, original: np.ndarray, start: QuantizedWeight) -> None:
        super().__init__()
        if not isinstance(start.format, IntegerFormat) or start.group is not None:
            raise ValueError("bits are learned of whole numbers with a scale for each channel")
        self.start = start
        self.format = start.format
        self.values = nn.Parameter(torch.from_numpy(np.array(original, np.float32)))
        self.log_scale = nn.Parameter(torch.from_numpy(np.log(start.scale.astype(np.float64)).astype(np.float32)))
        self.depth = nn.Parameter(torch.full((original.shape[start.axis],), float(self.format.width)))

    @property
    def free(self) -> nn.Parameter:
        """What is learned besides scales and bits."""
        return self.values

    @property
    def bits(self) -> Tensor:
        """Of each channel, from 0 to those of the format; what has reached 0 stays there."""
        return self.depth.clamp(0.0, float(self.format.width))

    @property
    def scale(self) -> Tensor:
        """Of each channel with the bits that it has."""
        return torch.exp(self.log_scale + math.log(2.0) * (float(self.format.width) - self.bits))

    @property
    def alive(self) -> Tensor:
        """Which channels have any bits."""
        return self.depth.detach() > 0.0

    def decide(self, fraction: float) -> None:
        """Nothing: the weights stay free."""

    def _numbers(self) -> Tensor:
        """The numbers of the channels."""
        half = self._along(torch.exp2(self.bits - 1.0))
        low = (-half).clamp(min=float(self.format.least))
        scaled = self.values / self._along(self.scale)
        inside = torch.minimum(torch.maximum(scaled, low), half - 1.0)
        # At no bits both bounds are -1/2, which rounds to zero.
        return inside + (inside.round() - inside).detach()

    def forward(self) -> Tensor:
        return self._numbers() * self._along(self.scale)

    @property
    def learned(self) -> QuantizedWeight:
        """The numbers and scales as they are now."""
        with torch.no_grad():
            numbers = self._numbers().round().double().numpy() + 0.0
            return replace(self.start, numbers=numbers, scale=self.scale.numpy().astype(np.float32))

    def _along(self, channels: Tensor) -> Tensor:
        shape = [1] * self.values.ndim
        shape[self.start.axis] = -1
        return channels.reshape(shape)
