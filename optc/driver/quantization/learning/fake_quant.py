"""Weights and activations as they come back from quantization, with gradients for what is learned about them.

A step of rounding has the gradient of the identity (straight-through); scales are learned as in Esser et al., "Learned
Step Size Quantization" (2020), through their logarithm, so that a rate of learning means the same for all of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from optc.passes.quantization.activations import QuantizedActivation
from optc.passes.quantization.formats import FloatFormat, Format, IntegerFormat
from optc.passes.quantization.powers import PowerSumFormat
from optc.passes.quantization.weights import QuantizedWeight


def nearest(values: Tensor, format: Format) -> Tensor:
    """The nearest number of a format, ties to even, as `Format.round` gives it; the gradient of what is not clipped
    is one."""
    assert isinstance(format, IntegerFormat | FloatFormat | PowerSumFormat)
    low = float(format.least) if isinstance(format, IntegerFormat) else -float(format.largest)
    inside = values.clamp(low, float(format.largest))
    with torch.no_grad():
        if isinstance(format, IntegerFormat):
            whole = inside.round()
        elif isinstance(format, PowerSumFormat):
            whole = torch.from_numpy(format.round(inside.numpy()).astype(np.float32))
        else:
            _, exponents = torch.frexp(inside)
            unit = (exponents - 1).clamp(min=format.lowest_exponent) - format.mantissa
            whole = torch.ldexp(torch.ldexp(inside, -unit).round(), unit)
            whole = whole.clamp(low, float(format.largest))
    return inside + (whole - inside).detach()


class ActivationQuantizer(nn.Module):
    """A tensor through the codes of a format; learns its scale."""

    def __init__(self, how: QuantizedActivation) -> None:
        super().__init__()
        self.how = how
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(how.scale))))
        integers = isinstance(how.format, IntegerFormat)
        # A zero that is exact in float32 keeps what is computed here equal to QuantizeLinear.
        self.zero = float(how.zero_point) if integers else 0.0

    def forward(self, values: Tensor) -> Tensor:
        scale = self.log_scale.exp()
        return (nearest(values / scale + self.zero, self.how.format) - self.zero) * scale

    @property
    def learned(self) -> QuantizedActivation:
        """With the scale as it is now."""
        return replace(self.how, scale=float(np.float32(np.exp(self.log_scale.item()))))


class SoftWeight(nn.Module):
    """Weights between their two neighbours in a format; learns which of the two, and its scales.

    The relaxation of Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020). In place of
    its regularizer, weights are decided a few at a time, the surest first, and those that are left make up for them, as
    in Zhou et al., "Incremental Network Quantization" (2017).

    Args:
        original: the float weights.
        start: their scales; its numbers are not read.
    """

    def __init__(self, original: np.ndarray, start: QuantizedWeight) -> None:
        super().__init__()
        self.start = start
        scaled = np.asarray(original, np.float64) / start.spread
        self.low_numbers, self.high_numbers = (start.format.round(scaled, mode) for mode in ("down", "up"))
        gap = self.high_numbers - self.low_numbers
        share = np.where(gap > 0, (scaled - self.low_numbers) / np.where(gap > 0, gap, 1.0), 0.0)
        self.low = torch.from_numpy(self.low_numbers.astype(np.float32))
        self.gap = torch.from_numpy(gap.astype(np.float32))
        self.decided = self.gap == 0
        self.share = nn.Parameter(torch.from_numpy(share.astype(np.float32)))
        self.log_scale = nn.Parameter(torch.from_numpy(np.log(start.scale.astype(np.float64)).astype(np.float32)))

    @property
    def free(self) -> nn.Parameter:
        """What is learned besides scales."""
        return self.share

    @torch.no_grad()
    def decide(self, fraction: float) -> None:
        """Let at least a fraction of the weights, those nearest to one of their neighbours, be what they are nearest to
        from now on."""
        self.share.clamp_(0.0, 1.0)
        doubt = torch.where(self.decided, -1.0, 0.5 - (self.share - 0.5).abs())
        count = round(fraction * doubt.numel())
        if count:
            self.decided |= doubt <= doubt.flatten().kthvalue(count).values
        self.share.copy_(torch.where(self.decided, self.share.round(), self.share))

    def forward(self) -> Tensor:
        share = torch.where(self.decided, self.share.detach(), self.share.clamp(0.0, 1.0))
        return (self.low + share * self.gap) * _along(self.log_scale.exp(), self.start)

    @property
    def learned(self) -> QuantizedWeight:
        """The numbers and scales as they are now."""
        up = self.share.detach().numpy() >= 0.5
        scale = self.log_scale.detach().double().exp().numpy().astype(np.float32)
        return replace(self.start, numbers=np.where(up, self.high_numbers, self.low_numbers), scale=scale)


class StraightWeight(nn.Module):
    """Weights rounded to the nearest number; learns weights and scales (fine-tuning).

    Args:
        original: the float weights.
        start: their scales; its numbers are not read.
    """

    def __init__(self, original: np.ndarray, start: QuantizedWeight) -> None:
        super().__init__()
        self.start = start
        self.values = nn.Parameter(torch.from_numpy(np.array(original, np.float32)))
        self.log_scale = nn.Parameter(torch.from_numpy(np.log(start.scale.astype(np.float64)).astype(np.float32)))

    @property
    def free(self) -> nn.Parameter:
        """What is learned besides scales."""
        return self.values

    def decide(self, fraction: float) -> None:
        """Nothing: the weights stay free."""

    def forward(self) -> Tensor:
        spread = _along(self.log_scale.exp(), self.start)
        return nearest(self.values / spread, self.start.format) * spread

    @property
    def learned(self) -> QuantizedWeight:
        """The numbers and scales as they are now."""
        with torch.no_grad():
            numbers = (
                nearest(self.values / _along(self.log_scale.exp(), self.start), self.start.format).double().numpy()
            )
        scale = self.log_scale.detach().double().exp().numpy().astype(np.float32)
        return replace(self.start, numbers=numbers, scale=scale)


def _along(scale: Tensor, start: QuantizedWeight) -> Tensor:
    """Scales in a shape that broadcasts over the weights."""
    if start.group is not None:
        wide = scale.repeat_interleave(start.group, dim=start.reduced)
        return wide.narrow(start.reduced, 0, start.numbers.shape[start.reduced])
    shape = [1] * start.numbers.ndim
    shape[start.axis] = -1
    return scale.reshape(shape)
