"""Fine-tuning of weights that are multiples of a step and entropy coded: the error and the bits fall together.

The model learns to answer as it did in float (distillation: no labels are needed) while every tensor is rounded in the
forward pass and passes its gradient on (straight-through; the steps are learned as in Esser et al., "Learned Step Size
Quantization", 2020). The bits are those of the two-sided geometric distribution with the tensor's mean magnitude, a
bound that has a gradient: it draws small weights to zero, where they cost least (Wiedemann et al., "Entropy-Constrained
Training of Deep Neural Networks", 2019). The price of a bit is raised until the bits are as many as wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.torch_graph import TorchGraph
from optc.ir.core import Module, Value

RATE = 3e-4
"""Of Adam at its highest, as a share of each tensor's mean magnitude."""

STEP_RATE = 2e-3
"""Of the logarithms of the steps."""

_CONTROL = 0.05
"""How fast the price of a bit follows the bits that are too many."""


def fine_tune(
    module: Module,
    steps: Mapping[Value, float],
    bits: float,
    data: Data,
    *,
    epochs: float = 2.0,
    progress: Progress = silent,
) -> dict[Value, tuple[np.ndarray, float]]:
    """Weights and step of each tensor after training; the nearest multiples of the step are what was trained.

    Args:
        module: in float; not changed.
        steps: of the constants that become levels, at the start.
        bits: that all levels may take.
        data: to train on.
        epochs: passes over the data, as a share where less than one.
        progress: called with (what, done, total, detail).

    Returns:
        float32 weights, not rounded, and the step, by constant.
    """
    torch.manual_seed(0)
    graph = TorchGraph(module.main)
    for parameter in graph.parameters():
        parameter.requires_grad_(False)
    names = list(steps)
    weights = [torch.nn.Parameter(graph.parameter_of[name].detach().clone()) for name in names]
    logs = torch.nn.Parameter(torch.tensor([math.log(steps[name]) for name in names]))
    groups = [{"params": [each], "lr": RATE * max(float(each.detach().abs().mean()), 1e-8)} for each in weights]
    optimizer = torch.optim.Adam([*groups, {"params": [logs], "lr": STEP_RATE}], betas=(0.9, 0.99))
    peaks = [group["lr"] for group in optimizer.param_groups]
    per_epoch = max(1, data.samples // data.batch)
    total = max(1, round(epochs * per_epoch))
    price, done = 1e-3, 0
    while done < total:
        for feeds in data.batches():
            if done >= total:
                break
            share = done / total
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * min(1.0, (done + 1) / (0.05 * total)) * 0.5 * (1 + math.cos(math.pi * share))
            tensors = {name: _channels_last(torch.from_numpy(np.array(array))) for name, array in feeds.items()}
            with torch.no_grad():
                wanted = graph(tensors)
            sizes = [each.exp() for each in logs]
            scaled = [weight / size for weight, size in zip(weights, sizes, strict=True)]
            rounded = [(each + (each.round() - each).detach()) * size for each, size in zip(scaled, sizes, strict=True)]
            found = graph(tensors, dict(zip(names, rounded, strict=True)))
            taken = sum(each.numel() * _bits(each.abs().mean()) for each in scaled)
            actual = sum(each.numel() * float(_bits(each.detach().round().abs().mean())) for each in scaled)
            loss = torch.stack([_difference(a, b) for a, b in zip(found, wanted, strict=True)]).sum()
            optimizer.zero_grad(set_to_none=True)
            (loss + price * taken / bits).backward()
            optimizer.step()
            price = min(max(price * math.exp(_CONTROL * math.tanh(20.0 * (actual / bits - 1.0))), 1e-6), 10.0)
            done += 1
            if done % 10 == 0:
                detail = f"error {float(loss.detach()):.4g}, {actual / bits:.1%} of the bits"
                progress("fine-tuning", done, total, detail)
    sizes = logs.detach().exp().tolist()
    return {name: (weight.detach().numpy(), size) for name, weight, size in zip(names, weights, sizes, strict=True)}


def _bits(mean: Tensor) -> Tensor:
    """As `entropy.geometric_bits`."""
    mean = mean.clamp_min(1e-6)
    ratio = mean / (1.0 + torch.sqrt(1.0 + mean**2))
    return torch.log2((1 + ratio) / (1 - ratio)) - mean * torch.log2(ratio)


def _difference(found: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence for scores of classes, else the error over the power."""
    if found.ndim == 2 and found.shape[1] > 1:
        return F.kl_div(F.log_softmax(found, 1), F.log_softmax(wanted, 1), log_target=True, reduction="batchmean")
    return ((found - wanted) ** 2).sum() / (wanted**2).sum().clamp_min(1e-30)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
