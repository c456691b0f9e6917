"""Learned rounding: block after block, each on what the blocks before it became, against what the float model gives.

Adaptive rounding (Nagel et al., "Up or Down?", 2020) with the blocks and learned activation scales of BRECQ (Li et al.,
2021), then, as in the second phase of EfficientQAT (Chen et al., 2024), all scales and biases from end to end.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
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
from optc.passes.quantization.plan import QuantizationPlan

LARGEST_BYTES = 512 << 20
"""Of the values between two blocks over all samples; with more, fewer samples are learned from."""

Batch = dict[Value, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How rounding is learned.

    Attributes:
        steps: of Adam for each block.
        end_steps: of Adam for the whole model.
        batch: samples a step, rounded to the model's batches.
        rate: of learning of what rounds.
        scale_rate: of the logarithms of scales, and of biases.
        deciding: the share of the steps after which no weight is undecided.
        seed: of the order of the samples.
    """

    steps: int = 400
    end_steps: int = 400
    batch: int = 32
    rate: float = 1e-2
    scale_rate: float = 1e-3
    deciding: float = 0.8
    seed: int = 0


def learn_rounding(
    module: Module,
    plan: QuantizationPlan,
    data: Data,
    recipe: Recipe | None = None,
    *,
    progress: Progress = silent,
) -> None:
    """Replace the rounding, the scales and the biases of a plan by learned ones.

    Args:
        module: in float, that the plan was made for.
        plan: changed in place.
        data: what to learn from; no labels.
        recipe: how.
        progress: called with (what, done, total, detail).
    """
    if plan.layers:
        _Learner(module, plan, data, recipe or Recipe(), progress).run()


class _Learner:
    def __init__(self, module: Module, plan: QuantizationPlan, data: Data, recipe: Recipe, progress: Progress) -> None:
        self.recipe, self.progress = recipe, progress
        self.twin = Twin(module, plan)
        self.random = np.random.default_rng(recipe.seed)
        self.blocks = blocks_of(module.main, [item.layer.operation for item in plan.layers.values()])
        self.outputs = list(dict.fromkeys(module.main.outputs))
        self.feeds = _read(module, data)

    def run(self) -> None:
        # Both chains start from the same inputs; what a later block reads stays until then.
        exact: list[Batch] = [dict(feeds) for feeds in self.feeds]
        coded: list[Batch] = [dict(feeds) for feeds in self.feeds]
        total = len(self.blocks) + (self.recipe.end_steps > 0)
        for number, block in enumerate(self.blocks):
            layers = self._layers(block)
            self.progress("learning to round", number, total, layers[0].item.layer.name if layers else "")
            targets = self._through(block, exact, quantized=False)
            if layers:
                self._learn(block, layers, coded, targets)
            results = self._through(block, coded, quantized=True)
            later = {value for other in self.blocks[number + 1 :] for value in other.reads} | set(self.outputs)
            for store, found in ((exact, targets), (coded, results)):
                for batch, values in zip(store, found, strict=True):
                    batch.update(values)
                    for value in [value for value in batch if value not in later]:
                        del batch[value]
        if self.recipe.end_steps:
            self.progress("learning scales", total - 1, total, "")
            self._finish([{value: batch[value] for value in self.outputs} for batch in exact])
        self.twin.commit()

    def _layers(self, block: Block) -> list[QuantizedLayerModule]:
        found = (self.twin.layer(operation) for operation in block.operations)
        return [layer for layer in found if layer is not None]

    @torch.no_grad()
    def _through(self, block: Block, store: list[Batch], *, quantized: bool) -> list[Batch]:
        return [self.twin.compute(block.operations, batch, block.gives, quantized=quantized) for batch in store]

    def _learn(
        self, block: Block, layers: list[QuantizedLayerModule], store: list[Batch], targets: list[Batch]
    ) -> None:
        """Decide how the weights of a block are rounded."""
        recipe = self.recipe
        wanted = [value for value in block.gives if value.tensor_type.dtype.is_float]
        with torch.no_grad():
            before = self._loss(block, wanted, store, targets, range(len(store))) if VERBOSE else 0
        rounding = [layer.weight.share for layer in layers]
        biases = [layer.bias for layer in layers if layer.bias is not None]
        quantizers = {self.twin.quantizer(value) for value in self._coded(block)} - {None}
        scales = [quantizer.log_scale for quantizer in quantizers if quantizer is not None]
        groups = [
            {"params": rounding, "lr": recipe.rate},
            {"params": scales, "lr": recipe.scale_rate},
            {"params": biases, "lr": recipe.scale_rate},
        ]
        optimizer = _adam(groups)
        for step, chosen in enumerate(self._choices(recipe.steps)):
            for layer in layers:
                layer.weight.decide(min(1.0, step / (recipe.deciding * recipe.steps)))
            loss = self._loss(block, wanted, store, targets, chosen)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            after = self._loss(block, wanted, store, targets, range(len(store)))
        if VERBOSE:
            print([layer.item.layer.name for layer in layers], float(before), float(after), flush=True)

    def _coded(self, block: Block) -> list[Value]:
        """The values that a block reads as codes."""
        inside = set(block.operations)
        return [value for value, readers in self.twin.sites.readers.items() if inside.intersection(readers)]

    def _loss(
        self,
        block: Block,
        wanted: Sequence[Value],
        store: list[Batch],
        targets: list[Batch],
        chosen: Collection[int],
    ) -> Tensor:
        """The squared error of a block's results, relative to their power."""
        total: Any = 0.0
        for place in chosen:
            found = self.twin.compute(block.operations, store[place], wanted)
            for value in wanted:
                target = targets[place][value]
                error = (found[value] - target).square().mean() / target.square().mean().clamp(min=TINY)
                total = total + error / (len(chosen) * len(wanted))
        return total

    def _finish(self, targets: list[Batch]) -> None:
        """Learn all scales and biases against the float model's outputs."""
        recipe, twin = self.recipe, self.twin
        floats = [value for value in self.outputs if value.tensor_type.dtype.is_float]
        whole = Block(tuple(twin.operations), tuple(twin.inputs), tuple(self.outputs), True)
        scales = [layer.weight.log_scale for layer in twin.layers] + [each.log_scale for each in twin.activations]
        biases = [layer.bias for layer in twin.layers if layer.bias is not None]
        groups = [{"params": scales, "lr": recipe.scale_rate}, {"params": biases, "lr": recipe.scale_rate}]
        optimizer = _adam(groups)
        for step, chosen in enumerate(self._choices(recipe.end_steps)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.scale_rate * (1 + math.cos(math.pi * step / recipe.end_steps)) / 2
            loss = self._loss(whole, floats, self.feeds, targets, chosen)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            after = self._loss(whole, floats, self.feeds, targets, range(len(targets)))
        if VERBOSE:
            print("end", float(after), flush=True)

    def _choices(self, steps: int) -> Iterator[list[int]]:
        """The batches of each step."""
        extent = len(next(iter(self.feeds[0].values())))
        count = min(len(self.feeds), max(1, self.recipe.batch // extent))
        for _ in range(steps):
            yield self.random.choice(len(self.feeds), count, replace=False).tolist()


VERBOSE = False
TINY = 1e-20


def _adam(groups: list[dict[str, Any]]) -> Any:
    """Adam whose steps do not depend on how small the error is."""
    return torch.optim.Adam(groups, eps=TINY)


def _read(module: Module, data: Data) -> list[Batch]:
    """The inputs of all samples in batches, as many as LARGEST_BYTES allow for."""
    feeds: list[Batch] = []
    for batch in data.batches():
        feeds.append({value: torch.from_numpy(np.array(batch[value.name])) for value in module.main.inputs})
    return feeds
