"""Difficult activations become difficult weights: outliers of a channel divided out of what matrix products read.

After Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models" (2023):
channel j of the activation is divided by max|x_j|^a, which the weights that meet it are multiplied by. The float
function stays what it was. The paper also multiplies by max|w_j|^(1-a): with a scale for each output channel the rows
of weights need not be alike, and activations that this enlarges become outliers themselves. The division goes into
the LayerNormalization before where nothing else reads that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from optc.ir.core import Graph, Operation, Value
from optc.ops.inference import make_operation
from optc.passes.quantization.activations import activation_for
from optc.passes.quantization.affine import parameters_for
from optc.passes.quantization.formats import IntegerFormat
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.observers import MeanSquaredError
from optc.passes.simplify.dce import erase_dead

STRENGTHS = tuple(step / 10 for step in range(11))
"""Exponents that are tried: 0 leaves an activation as it is, 1 gives its channels one range."""

_DATA = IntegerFormat(8, signed=False)
_WEIGHTS = IntegerFormat(8, symmetric=True)


def smoothed_values(layers: Sequence[Layer]) -> dict[Value, list[Layer]]:
    """What matrix products read, and the products that read it."""
    found: dict[Value, list[Layer]] = {}
    for layer in layers:
        if layer.operation.name != "onnx.Conv":
            found.setdefault(layer.data, []).append(layer)
    return found


def divisors(reach: np.ndarray, strength: float) -> np.ndarray:
    """What the channels of an activation are divided by, float64.

    Args:
        reach: the largest magnitude in each channel.
        strength: of `STRENGTHS`.
    """
    reach = np.asarray(reach, np.float64)
    found = np.where(reach > 0, reach, 1.0) ** strength
    # Only ratios between channels matter to either side.
    return found / np.exp(np.log(found).mean())


def strength_of(rows: np.ndarray, reach: np.ndarray, readers: Sequence[Layer]) -> float:
    """The strength with which the readers of an activation lose least in int8; 0 where none is better than nothing.

    Args:
        rows: some of the activation, [samples, channels].
        reach: the largest magnitude in each channel.
        readers: products with it.
    """
    weights = np.concatenate([layer.weight.T if layer.axis == 0 else layer.weight for layer in readers], axis=1)
    wanted = rows @ weights

    def error(strength: float) -> float:
        divisor = divisors(reach, strength).astype(np.float32)
        data, scaled = rows / divisor, weights * divisor[:, None]
        watching = MeanSquaredError("rows")
        watching.weights = np.square(scaled).sum(axis=1)
        watching.observe(data)
        low, high = watching.range(_DATA)
        coded = activation_for(float(low), float(high), _DATA).apply(data)
        rounding = parameters_for(scaled.min(axis=0), scaled.max(axis=0), _WEIGHTS, symmetric=True, axis=1)
        return float(np.square(coded @ rounding.apply(scaled) - wanted, dtype=np.float64).sum())

    return min(STRENGTHS, key=error)


def smooth(graph: Graph, layers: Sequence[Layer], factors: Mapping[Value, np.ndarray]) -> None:
    """Move the outliers of activations into weights, in place.

    Args:
        graph: of the layers.
        layers: all of them.
        factors: what the channels (the last axis) are divided by, by value; others stay.
    """
    for value, readers in smoothed_values(layers).items():
        if value in factors:
            divisor = factors[value]
            _divide(graph, value, [layer.operation for layer in readers], divisor)
            for layer in readers:
                wide = np.expand_dims(divisor, layer.axis)
                made = graph.constant((layer.weight * wide).astype(np.float32), f"{layer.name}.weight")
                layer.operation.set_operand(1, made)
    erase_dead(graph)


def _divide(graph: Graph, value: Value, readers: Sequence[Operation], divisor: np.ndarray) -> None:
    producer = value.producer
    if producer is not None and _absorbs(producer) and set(value.users) == set(readers) and value not in graph.outputs:
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
