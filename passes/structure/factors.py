"""Layers as products of two thinner ones.

A layer of rank r computes r channels, and its result from those by a 1x1 convolution or a second matrix. The channels
are the principal components of what the layer gives on data, which is the singular value decomposition of its weights
weighted by the activations: no other r channels come closer in the mean square (Zhang et al., "Accelerating Very Deep
Convolutional Networks for Classification and Detection", 2016, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.ir.core import Attribute, Graph, Operation
from optc.ops.inference import make_operation
from optc.passes.quantization.layers import Layer
from optc.passes.simplify.dce import erase_dead


@dataclass(frozen=True, eq=False)
class Moments:
    """Of a layer's results on data.

    Attributes:
        mean: of each channel.
        covariance: of the channels, around the mean; around zero where the layer has no place for a bias.
    """

    mean: np.ndarray
    covariance: np.ndarray

    def components(self, rank: int) -> np.ndarray:
        """The `rank` orthonormal directions [channels, rank] in which results vary most."""
        _, vectors = np.linalg.eigh(self.covariance)
        return vectors[:, ::-1][:, :rank]

    def lost(self, rank: int) -> float:
        """The share of the variance outside those directions."""
        values = np.maximum(np.linalg.eigvalsh(self.covariance)[::-1], 0.0)
        return float(values[rank:].sum() / max(values.sum(), 1e-30))


def can_factor(layer: Layer) -> bool:
    """Whether a layer can be written as two: it has no groups, and its bias is of constants."""
    operation = layer.operation
    grouped = operation.name == "onnx.Conv" and operation.attributes.get("group", 1) != 1
    return not grouped and layer.weight.ndim >= 2 and (operation.operand(2) is None or layer.bias is not None)


def largest_rank(layer: Layer) -> int:
    """The rank from which on two layers compute more than one."""
    channels, inputs = layer.channels, layer.weight.size // layer.channels
    return channels * inputs // (channels + inputs)


def factor(graph: Graph, layer: Layer, moments: Moments, rank: int) -> tuple[Operation, Operation]:
    """Replace a layer by two, in place; both of them, in order.

    The second keeps the layer's name and the bias that leaves the mean of its result as it was.
    """
    basis = moments.components(rank)
    operation, weight = layer.operation, layer.weight.astype(np.float64)
    name = layer.operation.result.name
    centre = moments.mean if layer.takes_bias else np.zeros(layer.channels)
    bias = None if layer.bias is None else layer.bias.astype(np.float64)
    # y = U Uᵀ (y - m) + m, and y = W x + b: the first layer gives Uᵀ W x.
    offset = centre - basis @ (basis.T @ (centre - (0.0 if bias is None else bias)))
    first_weight = np.tensordot(basis.T, weight, axes=(1, 0)) if layer.axis == 0 else weight @ basis
    second_weight: np.ndarray = basis
    first_attributes: dict[str, Attribute] = dict(operation.attributes)
    second_attributes: dict[str, Attribute] = {}
    if operation.name == "onnx.Conv":
        spatial = weight.ndim - 2
        second_weight = basis.reshape(*basis.shape, *(1,) * spatial)
        second_attributes = {
            "group": 1,
            "kernel_shape": (1,) * spatial,
            "strides": (1,) * spatial,
            "dilations": (1,) * spatial,
            "pads": (0,) * (2 * spatial),
            "auto_pad": "NOTSET",
        }
    elif layer.axis == 1:
        second_weight = basis.T
    if operation.name == "onnx.Gemm":
        second_attributes = dict(operation.attributes)

    def constant(array: np.ndarray, suffix: str):  # type: ignore[no-untyped-def]
        return graph.constant(np.ascontiguousarray(array, np.float32), f"{name}.{suffix}")

    first = make_operation(
        operation.name,
        [operation.operands[0], constant(first_weight, "narrow")],
        first_attributes,
        result_names=(f"{name}.narrow",),
        location=operation.location,
    )
    graph.insert(first, operation)
    operands = [first.result, constant(second_weight, "wide")]
    if layer.takes_bias:
        operands.append(constant(offset, "bias"))
    second = make_operation(
        operation.name, operands, second_attributes, result_names=(name,), location=operation.location
    )
    graph.insert(second, operation)
    operation.result.replace_by(second.result)
    erase_dead(graph)
    return first, second
