"""Range restriction: what a layer computes outside of what it ever computed is taken for an error and becomes zero.

As Ranger (Chen, Li, Pattabiraman, "A Low-cost Fault Corrector for Deep Neural Networks through Range Restriction", DSN
2021) bounds activations, with a range for each channel as FitAct (Ghavami et al., DATE 2022) has one for each neuron.
Zero instead of the bound, since the bound is itself a strong activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from optc.ir.core import Module, Value
from optc.ops.declaration import Kind, declaration_of
from optc.ops.restriction import RESTRICT
from optc.passes.quantization.layers import Layer
from optc.passes.rewrite.builder import Builder


def checked_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Those that need a check of their own.

    What a depthwise convolution alone reads, through activations at most, stays in its channel until the check behind
    that convolution, which finds it there; the check in front would cost as much again and save nothing.

    Args:
        layers: of one graph, all of which may be checked.
    """
    depthwise = {layer.data: layer for layer in layers if _is_depthwise(layer)}
    return [layer for layer in layers if not _ends_in(layer.operation.result, depthwise)]


def _is_depthwise(layer: Layer) -> bool:
    operation = layer.operation
    return operation.name == "onnx.Conv" and operation.attributes.get("group", 1) != 1 and layer.weight.shape[1] == 1


def _ends_in(value: Value, depthwise: Mapping[Value, Layer]) -> bool:
    """Whether a value is read by activations in a row, and then by a depthwise convolution."""
    while len(value.uses) == 1:
        (reader,) = value.users
        if value in depthwise and depthwise[value].operation is reader:
            return True
        others = [operand for operand in reader.present_operands if operand is not value and not operand.is_constant]
        if others or declaration_of(reader.name).kind is not Kind.ELEMENTWISE or len(reader.results) != 1:
            return False
        value = reader.result
    return False


def restrict_ranges(module: Module, bounds: Mapping[Layer, np.ndarray]) -> None:
    """Put a check behind the layers of a module, in place.

    Args:
        module: in float.
        bounds: of each layer, the greatest magnitude of each channel: float32 [channels]. What is beyond, or not a
            number, becomes zero.
    """
    for layer, bound in bounds.items():
        _restrict(layer, bound)


def _restrict(layer: Layer, bound: np.ndarray) -> None:
    operation, result = layer.operation, layer.operation.result
    assert operation.graph is not None
    readers = list(result.users)
    op = Builder(operation.next or operation.graph.terminator)
    shape = [1] * len(result.tensor_type.shape or ())
    shape[layer.channel_axis] = layer.channels
    # One comparison instead of one with each end: half the work, and nearly the same range behind a normalization.
    kept = op.call(RESTRICT, (result, np.asarray(bound, np.float32).reshape(shape)))
    kept.name, result.name = result.name, f"{result.name}.unchecked"
    for made in op.created:
        made.location = operation.location
    result.replace_by(kept, only=readers)
