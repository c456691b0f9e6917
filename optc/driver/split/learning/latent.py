"""What crosses the link: integers, and how many bits they cost.

The prior is the fully factorized one of Balle et al., "Variational image compression with a scale hyperprior" (2018,
appendix 6.1), which Matsubara et al., "Supervised Compression for Resource-Constrained Edge Computing Systems" (2022,
the Entropic Student) learn together with the task: here each channel's density is a mixture of logistics. Rounding
passes gradients straight through to the decoder, and is uniform noise to the rate (Minnen and Singh, "Channel-wise
autoregressive entropy models", 2020, section 3.3).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LIMIT = 127
"""Codes lie in -128..127: one byte each before they are coded."""

_LEAST = 2.0**-16
"""The least probability of a code, that of the entropy coder's tables."""


def rounded(latent: Tensor, low: int = -LIMIT - 1, high: int = LIMIT) -> Tensor:
    """The nearest codes; gradients pass as if nothing were rounded, and not where a code is at its limit."""
    held = latent.clamp(low, high)
    return held + (held.round() - held).detach()


class FactorizedPrior(nn.Module):
    """The probability of each code of each channel, independent of all others.

    Args:
        channels: of the latent tensor [batch, channels, ...].
        components: logistics in the mixture of a channel.
    """

    def __init__(self, channels: int, components: int = 3) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(channels, components))
        self.center = nn.Parameter(torch.linspace(-2, 2, components).repeat(channels, 1))
        self.log_scale = nn.Parameter(torch.full((channels, components), math.log(1.0)))

    def bits(self, latent: Tensor) -> Tensor:
        """Bits of each element [batch, channels, ...]; rounded or with noise."""
        shape = (1, -1, *(1,) * (latent.ndim - 2), self.center.shape[1])
        share = self.share.softmax(1).view(shape)
        center, scale = self.center.view(shape), self.log_scale.exp().view(shape)
        from_center = latent.unsqueeze(-1) - center
        # Differences of sigmoids cancel far from the center on the right: mirror them.
        sign = torch.where(from_center > 0, -1.0, 1.0)
        upper, lower = (torch.sigmoid(sign * (from_center + side) / scale) for side in (0.5, -0.5))
        mass = (share * (upper - lower).abs()).sum(-1)
        return -torch.log2(mass.clamp_min(_LEAST))

    def noisy_bits(self, latent: Tensor) -> Tensor:
        """Bits of each sample [batch], with noise in place of rounding."""
        noise = torch.rand_like(latent) - 0.5
        return self.bits(latent.float() + noise).flatten(1).sum(1)

    @torch.no_grad()
    def tables(self) -> np.ndarray:
        """The probability of each code -128..127 by channel, float64 [channels, 256]; rows sum to 1."""
        codes = torch.arange(-LIMIT - 1, LIMIT + 1, dtype=torch.float32)
        channels = self.share.shape[0]
        mass = torch.exp2(-self.bits(codes.view(-1, 1).expand(-1, channels))).T.double().numpy()
        return mass / mass.sum(1, keepdims=True)


def width_mask(batch: int, channels: int, widths: tuple[int, ...], device: torch.device | None = None) -> Tensor:
    """For each sample a width drawn from `widths`: 1 for its first channels, 0 for the others [batch, channels]."""
    chosen = torch.tensor(widths)[torch.randint(len(widths), (batch, 1))]
    return (torch.arange(channels)[None] < chosen).float().to(device)


def conv_block(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution with BatchNorm and ReLU."""
    conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
    return [conv, nn.BatchNorm2d(channels_out), nn.ReLU()]


def encoder(channels_in: int, hidden: int, channels: int, halvings: int) -> nn.Module:
    """The narrow end of the device's half: features [n, channels_in, h, w] to [n, channels, h/2^halvings, ...]."""
    parts: list[nn.Module] = []
    width = channels_in
    for _ in range(max(1, halvings)):
        parts += conv_block(width, hidden, 2 if halvings else 1)
        width = hidden
    last = nn.Conv2d(width, channels, 1)
    with torch.no_grad():
        last.weight *= 3  # so that codes other than 0 occur from the beginning
    return nn.Sequential(*parts, last)


def decoder(channels: int, hidden: int, channels_out: int, doublings: int) -> nn.Module:
    """The start of the server's half: codes [n, channels, h, w] to features [n, channels_out, h*2^doublings, ...]."""
    parts = [*conv_block(channels, hidden), *conv_block(hidden, hidden)]
    parts.append(nn.Conv2d(hidden, channels_out << 2 * doublings, 1))
    parts += [nn.PixelShuffle(1 << doublings)] if doublings else []
    return nn.Sequential(*parts)


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The divergence of softened scores [n, classes] times the squared temperature (Hinton et al. 2015)."""
    student, teacher = student.float() / temperature, teacher.float() / temperature
    return F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean") * temperature**2
