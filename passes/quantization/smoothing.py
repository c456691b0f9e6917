"""Difficult activations become difficult weights: outliers of a channel divided out of what matrix products read.

Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models" (2023): channel
j of the activation is divided by max|x_j|^a / max|w_j|^(1-a), which the weights that meet it are multiplied by. The
float function stays what it was. The division goes into the LayerNormalization before where nothing else reads that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from optc.ir.core import Graph, Operation, Value
from optc.ops.inference import make_operation
from optc.passes.quantization.layers import Layer
from optc.passes.simplify.dce import erase_dead

STRENGTH = 0.5
"""The exponent a: how much of the difficulty moves."""


def smoothed_values(layers: Sequence[Layer]) -> dict[Value, list[Layer]]:
    """What matrix products read, and the products that read it."""
    found: dict[Value, list[Layer]] = {}
    for layer in layers:
        if layer.operation.name != "onnx.Conv":
            found.setdefault(layer.data, []).append(layer)
    return found


def smooth(
    graph: Graph, layers: Sequence[Layer], reaches: Mapping[Value, np.ndarray], *, strength: float = STRENGTH
) -> list[Value]:
    """Move the outliers of activations into weights, in place; the values that were divided.

    Args:
        graph: of the layers.
        layers: all of them.
        reaches: the largest magnitude in each channel (the last axis), by value; those without one stay.
        strength: 0 leaves the activations as they are, 1 gives them one range.
    """
    done = []
    for value, readers in smoothed_values(layers).items():
        if value not in reaches:
            continue
        reach = np.asarray(reaches[value], np.float64)
        weights = np.max([np.abs(layer.weight).max(axis=layer.axis) for layer in readers], axis=0).astype(np.float64)
        alive = (reach > 0) & (weights > 0)
        divisor = np.where(alive, reach, 1.0) ** strength / np.where(alive, weights, 1.0) ** (1.0 - strength)
        divisor = np.where(alive, divisor, 1.0)
        # Only ratios between channels matter to either side.
        divisor /= np.exp(np.log(divisor).mean())
        _divide(graph, value, [layer.operation for layer in readers], divisor)
        for layer in readers:
            wide = np.expand_dims(divisor, layer.axis)
            made = graph.constant((layer.weight * wide).astype(np.float32), f"{layer.name}.weight")
            layer.operation.set_operand(1, made)
        done.append(value)
    erase_dead(graph)
    return done


def _divide(graph: Graph, value: Value, readers: Sequence[Operation], divisor: np.ndarray) -> None:
    producer = value.producer
    if producer is not None and _absorbs(producer) and set(value.users) == set(readers):
        for position in (1, 2):
            constant = producer.operand(position)
            if constant is not None:
                assert constant.constant is not None
                made = graph.constant((constant.constant / divisor).astype(np.float32), constant.name)
                producer.set_operand(position, made)
        return
    factor = graph.constant((1.0 / divisor).astype(np.float32), f"{value.name}.smoothing")
    first = next(operation for operation in graph if operation in readers)
    scaled = make_operation(
        "onnx.Mul", [value, factor], {}, result_names=(f"{value.name}.smoothed",), location=first.location
    )
    graph.insert(scaled, first)
    value.replace_by(scaled.result, only=readers)


def _absorbs(operation: Operation) -> bool:
    """Whether a factor for each channel goes into an operation's constants."""
    if operation.name != "onnx.LayerNormalization" or len(operation.results[0].uses) == 0:
        return False
    rank = operation.results[0].tensor_type.rank
    axis = operation.attributes.get("axis", -1)
    last = axis == -1 or (rank is not None and axis == rank - 1)
    constants = [operand for operand in operation.operands[1:] if operand is not None]
    return last and all(constant.is_constant for constant in constants)
