"""Channels that learning left without any bits: which are read as zeros only, and the model without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from optc.driver.quantization.learning.operators import evaluate
from optc.driver.quantization.learning.twin import Twin
from optc.ir.clone import clone_module
from optc.ir.core import Module, Operation, Value
from optc.passes.quantization.layers import layers_of
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.quantization.qdq import quantized_module
from optc.passes.structure.channels import Channels, channels_of
from optc.passes.structure.removal import remove_units


def dead_units(
    module: Module, twin: Twin, alive: Mapping[Operation, np.ndarray | None], feeds: Mapping[Value, Tensor]
) -> set[int]:
    """The units of channels that every layer reads as zeros, whatever the model's inputs are.

    Every layer's result becomes noise, but for its channels without bits, which are zero; what is zero in front of a
    layer then is so by the structure of the graph, and not by chance.

    Args:
        module: in float, of the twin.
        twin: of the module.
        alive: for every layer, which channels of its result are not zero for all inputs; None for all of them.
        feeds: the inputs, of one batch; only their shapes count.

    Returns:
        units as of `channels_of`; of a family whose units would all go, one stays.
    """
    values: dict[Value, Tensor] = dict(feeds)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for operation in twin.operations:
            operands = [None if value is None else twin.known(value, values) for value in operation.operands]
            results = list(evaluate(operation, operands))
            if operation in alive:
                results[0] = torch.randn(results[0].shape, generator=random)
                if (channels_alive := alive[operation]) is not None:
                    shape = [1] * results[0].ndim
                    shape[1 if operation.name == "onnx.Conv" else -1] = -1
                    results[0] *= torch.from_numpy(channels_alive.astype(np.float32)).reshape(shape)
            values.update(zip(operation.results, results, strict=False))
    channels = channels_of(module.main)
    zero, needed = _read_units(channels, values)
    gone = zero - needed
    for family in channels.families:
        own = gone.intersection(family.units)
        if len(own) == family.total:
            gone.discard(min(own))
    return gone.intersection(unit for family in channels.families for unit in family.units)


def _read_units(channels: Channels, values: Mapping[Value, Tensor]) -> tuple[set[int], set[int]]:
    """The units that some layer reads as zeros, and those that one reads as something else."""
    zero: set[int] = set()
    needed: set[int] = set()
    for data in {item.operation.operands[0] for item in channels.slices if item.reads}:
        if data is None or data not in channels.placed:
            continue
        axis, ids = channels.placed[data]
        flat = values[data].movedim(axis, 0).reshape(len(ids), -1)
        nothing = (flat == 0.0).all(dim=1).numpy()
        units = channels.units(ids)
        zero |= set(units[nothing].tolist())
        needed |= set(units[~nothing].tolist())
    return zero, needed


def without_units(module: Module, plan: QuantizationPlan, units: set[int]) -> Module:
    """A copy of a module in QDQ form that some channels are gone from.

    Args:
        module: in float, left as it is.
        plan: of all its layers that are quantized, with weights in the numbers of integer formats.
        units: that are zero wherever they are read.
    """
    mapping: dict[Value, Value] = {}
    copy = clone_module(module, mapping)
    operations = dict(zip(module.main, copy.main, strict=True))
    # The numbers stand in for the weights, so that what shortens the weights shortens them.
    for item in plan.layers.values():
        operation, name = operations[item.layer.operation], item.layer.name
        numbers = copy.main.constant(item.weight.numbers.astype(np.float32), f"{name}.weight")
        operands = [*operation.operands[:1], numbers, *operation.operands[2:]]
        if item.layer.takes_bias and item.bias is not None:
            operands = [*operands[:2], copy.main.constant(np.asarray(item.bias, np.float32), f"{name}.bias")]
        operation.set_operands(operands)
    kept = remove_units(copy, units) if units else {}
    by_operation = {layer.operation: layer for layer in layers_of(copy.main)}
    smaller = QuantizationPlan(kept=dict(plan.kept))
    smaller.activations = {mapping[value]: how for value, how in plan.activations.items()}
    for name, item in plan.layers.items():
        layer = by_operation[operations[item.layer.operation]]
        places = kept.get(layer.operation, np.arange(item.layer.channels))
        weight = replace(item.weight, numbers=layer.weight.astype(np.float64), scale=item.weight.scale[places])
        bias = layer.bias if item.bias is not None and layer.takes_bias else item.bias
        smaller.layers[name] = replace(item, layer=layer, weight=weight, bias=bias)
    return quantized_module(copy, smaller)
