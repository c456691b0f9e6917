"""What is taken out of a model, and the model without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from optc.ir.clone import clone_module
from optc.ir.core import Module, Operation, Value
from optc.passes.quantization.layers import Layer, layers_of
from optc.passes.structure.factors import Moments, can_factor, factor, largest_rank
from optc.passes.structure.removal import remove_units
from optc.passes.structure.sparsity import thin


@dataclass(frozen=True)
class Option:
    """One thing that could be done.

    Attributes:
        item: the family of layers, or the layer.
        what: in words.
        units: of channels, that go.
        rank: that a layer gets; None where channels go.
        layer: its name.
        density: the share of what the layer reads that it still does; None where rows stay as they are.
        thresholds: of the channels of what it reads, below which elements become zero.
        saved: seconds that the model takes less with this alone, predicted.
        before: seconds of the kernels that change, predicted.
        after: what they become.
        noise: at the worst output relative to its power, with this alone.
    """

    item: str
    what: str
    units: frozenset[int] = frozenset()
    rank: int | None = None
    layer: str = ""
    density: float | None = None
    thresholds: tuple[float, ...] = ()
    saved: float = 0.0
    before: float = 0.0
    after: float = 0.0
    noise: float = 0.0


Plan = Mapping[str, Option]
"""By item."""


@dataclass
class Smaller:
    """A model with something taken out.

    Attributes:
        module: the model.
        twins: of each layer of the model before: the operation that gives its result now, and which channels of it.
        factored: operations that are the second half of a layer.
        thinned: operations that read rows with more zeros than before.
        void: items that could not be carried out beside the others.
    """

    module: Module
    twins: list[tuple[Layer, Operation, np.ndarray]] = field(default_factory=list)
    factored: set[Operation] = field(default_factory=set)
    thinned: set[Operation] = field(default_factory=set)
    void: list[str] = field(default_factory=list)


def without(module: Module, plan: Plan, moments: Mapping[str, Moments]) -> Smaller:
    """A copy of a model with a plan carried out; weights are as they were.

    Args:
        module: prepared.
        plan: of options for it.
        moments: of the results of layers that get a rank, by the layer's name.
    """
    mapping: dict[Value, Value] = {}
    made = Smaller(clone_module(module, mapping))
    lost = remove_units(made.module, {unit for option in plan.values() for unit in option.units})
    ranks = {option.layer: option.rank for option in plan.values() if option.rank is not None}
    thinner = {option.layer: option for option in plan.values() if option.density is not None}
    now = {layer.operation: layer for layer in layers_of(made.module.main)}
    for layer in layers_of(module.main):
        operation = mapping[layer.operation.result].producer
        assert operation is not None
        places = lost.get(operation, np.arange(layer.channels))
        twin = now[operation]
        if layer.name in ranks:
            seen = moments[layer.name]
            rank = min(ranks[layer.name], len(places))
            if can_factor(twin) and rank <= largest_rank(twin):
                kept = Moments(seen.mean[places], seen.covariance[np.ix_(places, places)])
                _, operation = factor(made.module.main, twin, kept, rank)
                made.factored.add(operation)
        if (option := thinner.get(layer.name)) is not None and option.density is not None:
            if operation is twin.operation and len(option.thresholds) == twin.weight.shape[twin.reduced]:
                made.thinned.add(thin(twin, np.array(option.thresholds, np.float32), option.density))
            else:
                made.void.append(option.item)
        made.twins.append((layer, operation, places))
    return made
