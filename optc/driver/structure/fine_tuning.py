"""Fine-tuning of a smaller model against the whole one: distillation on samples without labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Batch
from optc.driver.quantization.torch_graph import TorchGraph
from optc.ir.core import Module, Value
from optc.passes.quantization.layers import layers_of
from optc.passes.simplify.dce import erase_dead

RATE = 0.005
"""Of Adam at its highest, as a share of each tensor's mean magnitude."""


def fine_tune(
    module: Module, whole: Module, batches: Sequence[Batch], epochs: float, *, progress: Progress = silent
) -> None:
    """Train the weights and biases of a module's layers to answer as another does, in place.

    Args:
        module: the smaller one.
        whole: the one whose answers are wanted; not changed.
        batches: of samples.
        epochs: passes over them.
        progress: called with (what, done, total, detail).
    """
    torch.manual_seed(0)
    graph, teacher = TorchGraph(module.main), TorchGraph(whole.main)
    trained: dict[Value, None] = {}
    for layer in layers_of(module.main):
        trained.update((value, None) for value in layer.operation.operands[1:] if value is not None)
    for each in (*graph.parameters(), *teacher.parameters()):
        each.requires_grad_(False)
    chosen = {value: graph.parameter_of[value].requires_grad_(True) for value in trained if value in graph.parameter_of}
    rates = [RATE * max(float(each.detach().abs().mean()), 1e-8) for each in chosen.values()]
    groups = [{"params": [each], "lr": rate} for each, rate in zip(chosen.values(), rates, strict=True)]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    total = max(1, round(epochs * len(batches)))
    random = np.random.default_rng(0)
    order: list[int] = []
    for done in range(total):
        order = order or random.permutation(len(batches)).tolist()
        feeds = {name: torch.from_numpy(np.array(array)) for name, array in batches[order.pop()].items()}
        with torch.no_grad():
            wanted = teacher(feeds)
        loss = torch.stack([_difference(a, b) for a, b in zip(graph(feeds), wanted, strict=True)]).sum()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (done + 1) / (0.1 * total)) * 0.5 * (1 + math.cos(math.pi * done / total))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if done % 10 == 0:
            progress("fine-tuning", done, total, f"error {float(loss.detach()):.4g}")
    for value, parameter in chosen.items():
        made = module.main.constant(parameter.detach().numpy().astype(np.float32), value.name)
        value.replace_by(made)
    erase_dead(module.main)


def _difference(found: Tensor, wanted: Tensor) -> Tensor:
    """The error over the power, and for scores of classes the Kullback-Leibler divergence besides."""
    error = ((found - wanted) ** 2).sum() / (wanted**2).sum().clamp_min(1e-30)
    if found.ndim == 2 and found.shape[1] > 1:
        divergence = F.kl_div(F.log_softmax(found, 1), F.log_softmax(wanted, 1), log_target=True, reduction="batchmean")
        return error + divergence
    return error
