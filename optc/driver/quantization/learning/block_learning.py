"""Block after block, each on what the blocks before it became, against what the float model gives; then the whole.

The blocks and learned activation scales are those of BRECQ (Li et al., 2021), the order that of EfficientQAT (Chen et
al., 2024): everything in a block first, then all scales from end to end.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.learning.blocks import Block, blocks_of
from optc.driver.quantization.learning.twin import QuantizedLayerModule, Twin
from optc.ir.core import Module, Value

LARGEST_BYTES = 1 << 30
"""Of the values between two blocks over all samples, float and quantized; with more, fewer samples are learned from."""

_TINY = 1e-20

Batch = dict[Value, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How blocks learn.

    Attributes:
        steps: of Adam for each block.
        end_steps: of Adam for the whole model.
        batch: samples a step, rounded to the model's batches.
        rate: of learning of what rounds: shares between two numbers, or weights.
        scale_rate: of the logarithms of scales, and of biases.
        deciding: the share of the steps after which no weight is undecided.
        seed: of the order of the samples.
    """

    steps: int = 120
    end_steps: int = 120
    batch: int = 32
    rate: float = 1e-2
    scale_rate: float = 1e-3
    deciding: float = 0.8
    seed: int = 0


class BlockLearner:
    """Learns on one model.

    Args:
        module: in float.
        twin: of the module; changed by learning.
        data: what to learn from; no labels.
        recipe: how.
        progress: called with (what, done, total, detail).
    """

    def __init__(
        self, module: Module, twin: Twin, data: Data, recipe: Recipe | None = None, *, progress: Progress = silent
    ) -> None:
        self.twin, self.recipe, self.progress = twin, recipe or Recipe(), progress
        self.random = np.random.default_rng(self.recipe.seed)
        self.blocks = blocks_of(module.main, [layer.item.layer.operation for layer in twin.layers])
        self.feeds = _read(module, data, max((_bytes(block, data.batch) for block in self.blocks), default=1))

    def blockwise(self) -> list[Batch]:
        """Learn block by block; the outputs of the float model, by batch."""
        # Both chains start from the same inputs; what a later block reads stays until then.
        exact: list[Batch] = [dict(feeds) for feeds in self.feeds]
        coded: list[Batch] = [dict(feeds) for feeds in self.feeds]
        for number, block in enumerate(self.blocks):
            layers = self._layers(block)
            self.progress("learning", number, len(self.blocks), layers[0].item.layer.name if layers else "")
            targets = self._through(block, exact, quantized=False)
            if layers and self.recipe.steps:
                self._learn(block, layers, coded, targets)
            results = self._through(block, coded, quantized=True)
            later = {value for other in self.blocks[number + 1 :] for value in other.reads} | set(self.twin.outputs)
            for store, found in ((exact, targets), (coded, results)):
                for batch, values in zip(store, found, strict=True):
                    batch.update(values)
                    for value in [value for value in batch if value not in later]:
                        del batch[value]
        return [{value: batch[value] for value in self.twin.outputs} for batch in exact]

    def end_to_end(self, targets: list[Batch]) -> None:
        """Learn all scales and biases against the outputs of the float model."""
        recipe, twin = self.recipe, self.twin
        for layer in twin.layers:
            layer.weight.decide(1.0)
        whole = Block(tuple(twin.operations), tuple(twin.inputs), tuple(twin.outputs), True)
        scales = [layer.weight.log_scale for layer in twin.layers] + [each.log_scale for each in twin.activations]
        biases = [layer.bias for layer in twin.layers if layer.bias is not None]
        optimizer = _adam([{"params": scales + biases, "lr": recipe.scale_rate}])
        for step, chosen in enumerate(self._choices(recipe.end_steps)):
            self.progress("learning scales", step, recipe.end_steps, "")
            _cool(optimizer, step / recipe.end_steps)
            self._step(optimizer, self._loss(whole, self.feeds, targets, chosen))

    def _layers(self, block: Block) -> list[QuantizedLayerModule]:
        found = (self.twin.layer(operation) for operation in block.operations)
        return [layer for layer in found if layer is not None]

    @torch.no_grad()
    def _through(self, block: Block, store: list[Batch], *, quantized: bool) -> list[Batch]:
        return [self.twin.compute(block.operations, batch, block.gives, quantized=quantized) for batch in store]

    def _learn(
        self, block: Block, layers: list[QuantizedLayerModule], store: list[Batch], targets: list[Batch]
    ) -> None:
        recipe = self.recipe
        inside = set(block.operations)
        coded = [value for value, readers in self.twin.sites.readers.items() if inside.intersection(readers)]
        quantizers = {quantizer for value in coded if (quantizer := self.twin.quantizer(value)) is not None}
        others = [quantizer.log_scale for quantizer in self.twin.activations if quantizer in quantizers]
        others += [layer.bias for layer in layers if layer.bias is not None]
        free = [layer.weight.free for layer in layers]
        optimizer = _adam([{"params": free, "lr": recipe.rate}, {"params": others, "lr": recipe.scale_rate}])
        for step, chosen in enumerate(self._choices(recipe.steps)):
            for layer in layers:
                layer.weight.decide(min(1.0, step / (recipe.deciding * recipe.steps)))
            self._step(optimizer, self._loss(block, store, targets, chosen))
        for layer in layers:
            layer.weight.decide(1.0)

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()
            optimizer.step()

    def _loss(self, block: Block, store: list[Batch], targets: list[Batch], chosen: Collection[int]) -> Tensor:
        """The squared error of a block's results, relative to their power."""
        wanted = [value for value in block.gives if value.tensor_type.dtype.is_float]
        total: Any = torch.zeros(())
        for place in chosen:
            found = self.twin.compute(block.operations, store[place], wanted)
            for value in wanted:
                target = targets[place][value]
                error = (found[value] - target).square().mean() / target.square().mean().clamp(min=_TINY)
                total = total + error / (len(chosen) * len(wanted))
        return total

    def _choices(self, steps: int) -> Iterator[list[int]]:
        """The batches of each step."""
        extent = len(next(iter(self.feeds[0].values())))
        count = min(len(self.feeds), max(1, self.recipe.batch // extent))
        for _ in range(steps):
            yield self.random.choice(len(self.feeds), count, replace=False).tolist()


def _adam(groups: list[dict[str, Any]]) -> Any:
    """Adam whose steps do not depend on how small the error is."""
    optimizer = torch.optim.Adam(groups, eps=_TINY)
    for group in optimizer.param_groups:
        group["first"] = group["lr"]
    return optimizer


def _cool(optimizer: Any, progress: float) -> None:
    """Let the rate fall to zero along a cosine."""
    for group in optimizer.param_groups:
        group["lr"] = group["first"] * (1 + math.cos(math.pi * progress)) / 2


def _read(module: Module, data: Data, size: int) -> list[Batch]:
    """The inputs in batches, as many as LARGEST_BYTES allow for at `size` bytes a batch."""
    feeds: list[Batch] = []
    for batch in data.batches():
        feeds.append({value: torch.from_numpy(np.array(batch[value.name])) for value in module.main.inputs})
        if len(feeds) * size > LARGEST_BYTES:
            break
    return feeds


def _bytes(block: Block, batch: int) -> int:
    """Of what one batch keeps around a block, in float and quantized."""
    total = 0
    for value in {*block.reads, *block.gives}:
        shape = value.tensor_type.shape or ()
        total += 8 * math.prod(extent if isinstance(extent, int) else batch for extent in shape)
    return total
