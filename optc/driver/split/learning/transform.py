"""The plainest encoder: a linear transform of each block of a feature map, as picture codings have, but fitted to data.

    model = Bottleneck.of("mobilenet.onnx", cut="getitem_33", kind="transform", channels=96, halvings=1)
    fit_transform(model, images[:4000], step=0.3)     # good before anything is trained

Principal components with one step for all of them lose least for their bits where features are Gaussian (Goyal,
"Theoretical Foundations of Transform Coding", 2001); the decoder is the least-squares estimate from the rounded codes.
Training changes both. The encoder is one convolution whose stride is its kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from optc.errors import OptcError

if TYPE_CHECKING:
    from optc.driver.split.learning.bottleneck import Bottleneck


class _Exact(nn.Conv2d):
    """A convolution in float32 also where others run in bfloat16: its results are rounded to codes, or come of them."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


def transform(channels_in: int, hidden: int, channels: int, halvings: int) -> nn.Module:
    """Features [n, channels_in, h, w] to [n, channels, h/2^halvings, ...]; nothing is `hidden`."""
    return nn.Sequential(_Exact(channels_in, channels, 1 << halvings, 1 << halvings))


def inverse(channels: int, hidden: int, channels_out: int, doublings: int) -> nn.Module:
    """Codes [n, channels, h, w] to features [n, channels_out, h*2^doublings, ...]."""
    conv = _Exact(channels, channels_out << 2 * doublings, 1)
    return nn.Sequential(conv, *([nn.PixelShuffle(1 << doublings)] if doublings else []))


@torch.no_grad()
def fit_transform(model: Bottleneck, inputs: Tensor, step: float, *, mixing: bool = True, batch: int = 250) -> None:
    """Set encoder and decoder from samples.

    Args:
        model: of the kind "transform"; changed in place.
        inputs: some hundreds at least.
        step: between codes, in standard deviations of the first component; without mixing, of each channel.
        mixing: principal components; without it every code is one channel of the features with its own step.

    Raises:
        OptcError: the bottleneck is of another kind, or has other channels than an encoder that does not mix.
    """
    encoder, first = (next(iter(part.children())) for part in (model.encoder, model.decoder))
    if not isinstance(encoder, _Exact) or not isinstance(first, _Exact):
        raise OptcError("only a bottleneck of the kind 'transform' can be fitted", where=model.cut.name)
    side = encoder.kernel_size[0]
    parts = inputs.split(batch)
    cut = torch.cat([model.features(part.float()).float() for part in parts])
    blocks = _blocks(cut, side)
    if mixing:
        matrix, offset = _components(blocks, model.channels, step)
    elif side == 1 and model.channels == blocks.shape[1]:
        matrix, offset = torch.diag(1 / (step * blocks.std(0).clamp_min(1e-6))), torch.zeros(model.channels)
    else:
        why = f"{model.channels} codes are to come of blocks of {blocks.shape[1]} features"
        raise OptcError("channels can only be sent as they are one by one", where=model.cut.name, why=why)
    encoder.weight.copy_(matrix.view_as(encoder.weight))
    encoder.bias.copy_(offset)
    codes = model.codes(blocks @ matrix.T + offset)
    wanted = torch.cat([model.taught_features(part.float()).float() for part in parts])
    weight, bias = _least_squares(codes, _blocks(wanted, wanted.shape[2] * side // cut.shape[2]))
    first.weight.copy_(weight.view_as(first.weight))
    first.bias.copy_(bias)


def _blocks(features: Tensor, side: int) -> Tensor:
    """[n, channels, h, w] as one row a block of side x side."""
    folded = F.pixel_unshuffle(features, side) if side > 1 else features
    return folded.permute(0, 2, 3, 1).flatten(0, 2)


def _components(blocks: Tensor, count: int, step: float) -> tuple[Tensor, Tensor]:
    """The first principal components in steps, as a matrix [count, features] and an offset [count]."""
    mean = blocks.mean(0)
    covariance = torch.cov(blocks.T).double()
    variances, vectors = torch.linalg.eigh(covariance)
    matrix = vectors.flip(1)[:, :count].T.float() / (step * float(variances[-1].clamp_min(1e-12)) ** 0.5)
    return matrix, -(matrix @ mean)


def _least_squares(codes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The linear estimate of features from codes: weight [features, codes], bias [features]."""
    known = torch.cat([codes, torch.ones(len(codes), 1)], 1).double()
    # Codes that are always 0 leave the system singular.
    gram = known.T @ known + 1e-6 * len(codes) * torch.eye(known.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(gram, known.T @ wanted.double()).T.float()
    return solved[:, :-1], solved[:, -1]
