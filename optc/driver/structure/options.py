"""What could be taken out of a model, and what of it a target would run faster without."""

from __future__ import annotations

from dataclasses import replace

from optc import targets
from optc.backends.interface import Progress, silent
from optc.driver.prediction import ModelPrediction, predict_model
from optc.driver.structure.plan import Option, without
from optc.driver.structure.refit import Reference
from optc.errors import ModelError
from optc.ir.clone import clone_module
from optc.ir.core import Module
from optc.ops.inference import bind_dims
from optc.passes.quantization.layers import Layer, layers_of
from optc.passes.structure.channels import channels_of
from optc.passes.structure.factors import Moments, can_factor, largest_rank
from optc.passes.structure.importance import importance
from optc.passes.structure.sparsity import can_thin, thresholds

SHARES = (0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
"""Of the channels or the rank of a layer, that may be left."""

DENSITIES = (0.5, 0.35, 0.25, 0.15, 0.1)
"""Of what a matrix product reads, that may be left."""

LEAST_GAIN = 0.005
"""Of a model's predicted time, below which a change does not pay: it is less than predictions can tell."""


class Pricing:
    """What versions of a model take on a target.

    Args:
        target: its name or file.
        threads: of a run; None for all cores.
        cost_model: as for `predict_model`.
    """

    def __init__(self, target: str, threads: int | None = None, cost_model: str = "auto") -> None:
        self.target = targets.load(target)
        self._name, self._threads, self._cost_model = target, threads, cost_model

    @property
    def lanes(self) -> int:
        """Channels that one instruction works on."""
        return max(1, self.target.vector_bytes // 4)

    def predict(self, module: Module) -> ModelPrediction:
        """Of one sample at a time.

        Raises:
            ModelError: a dimension other than the first is dynamic.
        """
        copy = clone_module(module)
        shapes = [value.tensor_type.shape or () for value in copy.main.inputs]
        free = {str(shape[0]): 1 for shape in shapes if shape and not isinstance(shape[0], int)}
        if free:
            try:
                bind_dims(copy, free)
            except (ValueError, KeyError) as fault:
                raise ModelError("the model does not take single samples", where=module.name, why=str(fault)) from fault
        return predict_model(copy, self._name, self._cost_model, self._threads)


def affected(before: ModelPrediction, after: ModelPrediction) -> tuple[float, float]:
    """The seconds of the kernels that a change makes others, before and after it."""
    keys = [{(each.nodes, each.flops, each.bytes): each.seconds for each in made.kernels} for made in (before, after)]
    first, second = (
        {key: seconds for key, seconds in own.items() if key not in other} for own, other in (keys, keys[::-1])
    )
    return sum(first.values()), sum(second.values())


def options_of(
    module: Module, pricing: Pricing, reference: Reference, *, progress: Progress = silent
) -> tuple[list[Option], dict[str, str], dict[str, Moments]]:
    """What would pay by itself, why the rest is left alone, and what ranks need to know.

    Args:
        module: prepared.
        pricing: on the target.
        reference: the module on data.
        progress: called with (what, done, total, detail).

    Returns:
        the options, without noise; by item that has none, the reason; by layer, the moments of its results.
    """
    possible, moments = _possible(module, pricing.lanes, reference)
    start = pricing.predict(module)
    found: list[Option] = []
    best: dict[str, float] = {}
    for number, option in enumerate(possible):
        progress("pricing what could go", number, len(possible), option.item)
        after = pricing.predict(without(module, {option.item: option}, moments).module)
        saved = start.seconds - after.seconds
        best[option.item] = max(best.get(option.item, -1.0), saved)
        if saved >= LEAST_GAIN * start.seconds:
            was, becomes = affected(start, after)
            found.append(replace(option, saved=saved, before=was, after=becomes))
    paying = {option.item for option in found}
    left = {
        item: f"does not pay: {1e6 * saved:.2f} us saved at best, predicted, of {1e6 * start.seconds:.1f} us"
        for item, saved in best.items()
        if item not in paying
    }
    return found, left, moments


def _possible(module: Module, lanes: int, reference: Reference) -> tuple[list[Option], dict[str, Moments]]:
    layers = layers_of(module.main)
    channels = channels_of(module.main)
    weighed = importance(channels, reference.powers(layers))
    found: list[Option] = []
    for family in channels.families:
        order = sorted(family.units, key=lambda unit: (weighed.get(unit, 0.0), unit))
        for kept in _counts(family.total, lanes):
            gone = order[: family.total - kept]
            if len(gone) == family.total - kept:
                what = f"{kept} of {family.total} channels"
                found.append(Option(family.name, what, frozenset(gone)))
    moments: dict[str, Moments] = {}
    for layer in layers:
        bound = largest_rank(layer)
        if not can_factor(layer) or bound < 2:
            continue
        ranks = [rank for rank in _counts(layer.channels, lanes) if rank < bound]
        if ranks:
            moments[layer.name] = reference.moments(layer)
        item = f"{layer.name} (rank)"
        found += [Option(item, f"rank {rank} of {layer.channels}", rank=rank, layer=layer.name) for rank in ranks]
    found += [option for layer in layers if can_thin(layer) for option in _thinner(layer, reference)]
    return found, moments


def _thinner(layer: Layer, reference: Reference) -> list[Option]:
    """A layer with fewer elements of its rows."""
    rows = reference.inputs(layer)
    return [
        Option(
            f"{layer.name} (activations)",
            f"the {density:.0%} of its inputs that weigh most",
            layer=layer.name,
            density=density,
            thresholds=tuple(thresholds(layer, rows, density).tolist()),
        )
        for density in DENSITIES
    ]


def _counts(total: int, lanes: int) -> list[int]:
    """How many of `total` may be left: whole vectors of them, where there are several."""
    step = lanes if total >= 2 * lanes else 1
    counts = {min(total, max(step, round(share * total / step) * step)) for share in SHARES}
    return sorted(counts - {total}, reverse=True)
