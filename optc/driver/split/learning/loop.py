"""The one training loop: one-cycle Adam over samples in random order, which continues where it was interrupted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optc.backends.interface import Progress, silent

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Samples as stored [n, ...] to float samples for one step; random choices from the generator."""


@dataclass(frozen=True)
class Samples:
    """What is learned from.

    Attributes:
        inputs: [n, ...], any element type; each step takes float32.
        labels: int64 [n], or None: the teacher's scores then are all that is learned.
        augment: changes the inputs of a step.
    """

    inputs: Tensor
    labels: Tensor | None = None
    augment: Augment | None = None

    def part(self, chosen: Tensor, random: torch.Generator | None = None) -> tuple[Tensor, Tensor | None]:
        """Some samples in float, augmented where `random` is given, and their labels."""
        inputs = self.inputs[chosen]
        if self.augment is not None and random is not None:
            inputs = self.augment(inputs, random)
        return inputs.float(), None if self.labels is None else self.labels[chosen]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: over all samples.
        batch: samples a step.
        rate: of Adam at its highest, for parameters that start at random.
        trained_rate: the same for parameters that are trained already.
        bfloat16: whether contractions of the forward pass run in bfloat16.
        seed: of the order of the samples and of augmentation.
        distinct: epochs after which order and augmentation repeat, so that a teacher's answers can be remembered;
            0: never.
    """

    epochs: int
    batch: int = 128
    rate: float = 3e-3
    trained_rate: float = 5e-4
    bfloat16: bool = False
    seed: int = 0
    distinct: int = 0


class Remembered:
    """A function of one tensor whose answers are computed once for each content that it is given.

    Args:
        function: gives the same for the same; its results are kept.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self._known: dict[bytes, Tensor] = {}

    def __call__(self, inputs: Tensor) -> Tensor:
        key = hashlib.blake2b(inputs.contiguous().numpy(), digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._function(inputs)
        return self._known[key]


def train(
    module: nn.Module,
    groups: Sequence[dict[str, Any]],
    loss: Callable[[Tensor, Tensor | None], Tensor],
    samples: Samples,
    schedule: Schedule,
    *,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    what: str = "training",
) -> None:
    """Minimize a loss.

    Args:
        module: what a checkpoint keeps; in training mode when this returns.
        groups: parameter groups with their highest rates.
        loss: of inputs and labels of one step.
        samples: what is learned from.
        schedule: how long and how fast.
        checkpoint: a file that is written after each epoch, and continued from where it exists.
        progress: called with (what, done, total, detail).
    """
    count = len(samples.inputs)
    steps = max(1, count // schedule.batch)
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    cycle = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _one_cycle(step / (schedule.epochs * steps)))
    first = 0
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        cycle.load_state_dict(state["cycle"])
        first = state["epochs"]
    module.train()
    for epoch in range(first, schedule.epochs):
        order = epoch % schedule.distinct if schedule.distinct else epoch
        random = torch.Generator().manual_seed(schedule.seed * 1000 + order)
        torch.manual_seed(schedule.seed * 1000 + epoch)
        total = 0.0
        for step, chosen in enumerate(torch.randperm(count, generator=random).split(schedule.batch)[:steps]):
            inputs, labels = samples.part(chosen, random)
            with torch.autocast("cpu", torch.bfloat16, enabled=schedule.bfloat16):
                value = loss(inputs, labels)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_([each for group in groups for each in group["params"]], 5.0)
            optimizer.step()
            cycle.step()
            total += float(value.detach())
            progress(what, epoch * steps + step + 1, schedule.epochs * steps, f"loss {total / (step + 1):.3f}")
        if checkpoint is not None:
            state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "cycle": cycle.state_dict()}
            torch.save({**state, "epochs": epoch + 1}, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)


def _one_cycle(done: float) -> float:
    """The share of the highest rate after a share of all steps: up in a fifth of them, then down to 0 (Smith 2018)."""
    rising = 0.2
    if done < rising:
        return 0.04 + 0.96 * done / rising
    return (1 + math.cos(math.pi * min(1.0, (done - rising) / (1 - rising)))) / 2
