"""Cross-layer equalization: channels between two layers in a scale that suits both.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), section 4.1: what scales
a channel of the first layer's result, divides the weights of the second that read it. The float function stays what it
was. It passes through activations with f(s·x) = s·f(x) for s > 0; the bounds of a clip (ReLU6) become those of each
channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optc.ir.core import Graph, Operation, Value
from optc.ops.inference import make_operation
from optc.passes.quantization.layers import Layer
from optc.passes.simplify.dce import erase_dead

HOMOGENEOUS = frozenset({"onnx.Relu", "onnx.LeakyRelu", "onnx.Identity"})
"""Activations that a positive factor passes through."""

LARGEST_FACTOR = 1e4
"""That a channel is scaled by, or divided: one of almost nothing would take all."""


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing but an activation between them.

    Attributes:
        first: gives the channels.
        second: alone reads them.
        activation: between them; None for none.
    """

    first: Layer
    second: Layer
    activation: Operation | None


def pairs_of(layers: Sequence[Layer]) -> list[Pair]:
    """The pairs among the layers of a graph, in order of execution."""
    by_data: dict[Value, list[Layer]] = {}
    for layer in layers:
        by_data.setdefault(layer.data, []).append(layer)
    found = []
    for first in layers:
        value, activation = first.operation.result, None
        if first.operation.operand(2) is not None and first.bias is None:
            continue
        if len(value.uses) == 1 and _passes(value.users[0], value):
            activation = value.users[0]
            value = activation.result
        readers = by_data.get(value, [])
        if len(readers) == 1 and len(value.uses) == 1 and _channels_match(first, readers[0]):
            found.append(Pair(first, readers[0], activation))
    return found


def _passes(operation: Operation, value: Value) -> bool:
    if operation.operand(0) is not value:
        return False
    bounds = operation.operands[1:]
    clips = operation.name == "onnx.Clip" and all(bound is None or bound.is_constant for bound in bounds)
    return operation.name in HOMOGENEOUS or clips


def _channels_match(first: Layer, second: Layer) -> bool:
    """Whether the channels of one lie where the other reads them."""
    if (first.operation.name == "onnx.Conv") != (second.operation.name == "onnx.Conv"):
        return False
    return _inputs(second) == first.channels


def _inputs(layer: Layer) -> int:
    return layer.weight.shape[layer.reduced] * _groups(layer)


def _groups(layer: Layer) -> int:
    return int(layer.operation.attributes.get("group", 1)) if layer.operation.name == "onnx.Conv" else 1  # type: ignore[arg-type]


def equalize(
    graph: Graph, layers: Sequence[Layer], reaches: Mapping[Value, np.ndarray] | None = None, *, rounds: int = 20
) -> list[Pair]:
    """Scale the channels between all pairs of layers, in place; the pairs that were scaled.

    Args:
        graph: of the layers.
        layers: all of them.
        reaches: the largest magnitude in each channel of what second layers read, by value. With it, channels are
            scaled for one range of the activation (each output channel having its own scale of weights anyway);
            without, for equal ranges of the weights on both sides.
        rounds: over all pairs, where the ranges of weights count.
    """
    pairs = pairs_of(layers)
    weights = {layer.operation: np.array(layer.weight, np.float64) for layer in layers}
    total = {pair.first.operation: np.ones(pair.first.channels) for pair in pairs}
    for _ in range(rounds if reaches is None else 1):
        for pair in pairs:
            before = _out_reach(pair.first, weights[pair.first.operation])
            if reaches is not None:
                if pair.second.data not in reaches:
                    continue
                before = reaches[pair.second.data]
            factor = _factor(before, _in_reach(pair.second, weights[pair.second.operation]))
            total[pair.first.operation] *= factor
            weights[pair.first.operation] = _scale_outputs(pair.first, weights[pair.first.operation], factor)
            weights[pair.second.operation] = _scale_inputs(pair.second, weights[pair.second.operation], 1.0 / factor)
    scaled = [pair for pair in pairs if np.any(total[pair.first.operation] != 1.0)]
    for layer in {layer.operation: layer for pair in scaled for layer in (pair.first, pair.second)}.values():
        made = graph.constant(weights[layer.operation].astype(np.float32), f"{layer.name}.weight")
        layer.operation.set_operand(1, made)
    for pair in scaled:
        factor = total[pair.first.operation]
        bias = pair.first.bias
        if bias is not None:
            pair.first.operation.set_operand(
                2, graph.constant((bias * factor).astype(np.float32), f"{pair.first.name}.bias")
            )
        if pair.activation is not None and pair.activation.name == "onnx.Clip":
            _clip_by_channel(graph, pair.activation, factor, pair.first.channel_axis)
    erase_dead(graph)
    return scaled


def _factor(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """What makes the ranges on both sides of each channel equal: s·before = after / s."""
    alive = (before > 0) & (after > 0)
    factor = np.sqrt(np.where(alive, after, 1.0) / np.where(alive, before, 1.0))
    return np.clip(factor, 1.0 / LARGEST_FACTOR, LARGEST_FACTOR)


def _out_reach(layer: Layer, weight: np.ndarray) -> np.ndarray:
    return np.abs(weight).max(axis=tuple(axis for axis in range(weight.ndim) if axis != layer.axis))


def _in_reach(layer: Layer, weight: np.ndarray) -> np.ndarray:
    if layer.operation.name != "onnx.Conv":
        return np.abs(weight).max(axis=layer.axis)
    groups = _groups(layer)
    grouped = np.abs(weight).reshape(groups, layer.channels // groups, weight.shape[1], -1)
    return grouped.max(axis=(1, 3)).reshape(-1)


def _scale_outputs(layer: Layer, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    shape = [1] * weight.ndim
    shape[layer.axis] = -1
    return weight * factor.reshape(shape)


def _scale_inputs(layer: Layer, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    if layer.operation.name != "onnx.Conv":
        return weight * np.expand_dims(factor, layer.axis)
    groups = _groups(layer)
    grouped = np.repeat(factor.reshape(groups, -1), layer.channels // groups, axis=0)
    return weight * grouped.reshape(*grouped.shape, *(1,) * (weight.ndim - 2))


def _clip_by_channel(graph: Graph, clip: Operation, factor: np.ndarray, axis: int) -> None:
    """Bounds of each channel in place of one for all: Clip takes scalars only."""
    data = clip.operand(0)
    assert data is not None
    rank = data.tensor_type.rank
    assert rank is not None
    shape = [1] * rank
    shape[axis] = -1
    for position, name in ((1, "onnx.Max"), (2, "onnx.Min")):
        bound = clip.operand(position)
        if bound is None or bound.constant is None:
            continue
        number = float(bound.constant)
        if number == 0.0 and name == "onnx.Max":
            made = make_operation("onnx.Relu", [data], {}, result_names=(data.name,), location=clip.location)
        else:
            array = (number * factor).astype(np.float32).reshape(shape)
            bounds = graph.constant(array, f"{clip.result.name}.bounds")
            made = make_operation(name, [data, bounds], {}, result_names=(data.name,), location=clip.location)
        data = graph.insert(made, clip).result
    data.name = clip.result.name
    clip.result.replace_by(data)
