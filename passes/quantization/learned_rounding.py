"""Learned rounding: each weight goes to one of its two neighbours, whichever keeps the layer's result.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020): a rectified sigmoid between the
neighbours is trained on the layer's own data, with a regularizer that drives it to 0 or 1. With the neighbours in a
floating-point format it is what "Low-Bitwidth Floating Point Quantization" does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.errors import OptcError
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.weights import QuantizedWeight

if TYPE_CHECKING:
    import torch

_STRETCH = (-0.1, 1.1)
_WEIGHT = 0.1
_WARM_UP = 0.2
_SHARPNESS = (20.0, 2.0)


def learned(
    layer: Layer,
    weight: QuantizedWeight,
    data: np.ndarray,
    target: np.ndarray,
    *,
    limits: tuple[float, float] = (-np.inf, np.inf),
    steps: int = 1000,
    batch: int = 32,
    rate: float = 1e-2,
    seed: int = 0,
) -> QuantizedWeight:
    """Weights rounded so that the layer's result stays near a target.

    Args:
        layer: whose weights.
        weight: their scales, and the numbers to start from.
        data: what the layer reads in the quantized model; samples along the first axis.
        target: what it gave in the float model.
        limits: of the activation that follows; only what is inside counts.
        steps: of Adam.
        batch: samples a step.
        rate: of learning.
        seed: of the order of the samples.

    Raises:
        OptcError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as fault:
        raise OptcError(
            "learned rounding needs PyTorch, which is not installed", why=str(fault), hint="pip install optc[torch]"
        ) from fault
    scaled = np.asarray(layer.weight, np.float64) / weight.spread
    low, high = weight.format.round(scaled, "down"), weight.format.round(scaled, "up")
    fraction = np.where(high > low, (scaled - low) / np.where(high > low, high - low, 1.0), 0.0).clip(0.01, 0.99)
    first, last = _STRETCH
    inverse = (fraction - first) / (last - first)
    variables = torch.tensor(np.log(inverse / (1 - inverse)), dtype=torch.float32, requires_grad=True)
    floor = torch.tensor(low * weight.spread, dtype=torch.float32)
    gap = torch.tensor((high - low) * weight.spread, dtype=torch.float32)
    bias = None if layer.bias is None else torch.tensor(layer.bias)
    inputs, wanted = torch.from_numpy(np.ascontiguousarray(data)), torch.from_numpy(np.ascontiguousarray(target))
    optimizer = torch.optim.Adam([variables], lr=rate)
    random = np.random.default_rng(seed)
    bounded = wanted.clamp(*limits)
    nearest = torch.tensor(weight.values)
    with torch.no_grad():
        begun = _apply(torch, layer, inputs[:batch], nearest, bias).clamp(*limits)
    power = float((begun - bounded[:batch]).square().mean()) or 1.0
    for step in range(steps):
        chosen = torch.from_numpy(random.choice(len(inputs), min(batch, len(inputs)), replace=False))
        share = (torch.sigmoid(variables) * (last - first) + first).clamp(0, 1)
        result = _apply(torch, layer, inputs[chosen], floor + share * gap, bias).clamp(*limits)
        loss = (result - bounded[chosen]).square().mean() / power
        progress = step / steps
        if progress >= _WARM_UP:
            begin, end = _SHARPNESS
            sharpness = end + (begin - end) * (1 - (progress - _WARM_UP) / (1 - _WARM_UP))
            loss = loss + _WEIGHT * (1 - (2 * share - 1).abs().pow(sharpness)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    up = torch.sigmoid(variables).detach().numpy() * (last - first) + first >= 0.5
    return replace(weight, numbers=np.where(up, high, low))


def _apply(torch: Any, layer: Layer, data: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
    """The layer's result."""
    functional = torch.nn.functional
    if layer.operation.name != "onnx.Conv":
        product = data @ (weight.T if layer.axis == 0 else weight)
        return product if bias is None else product + bias
    attributes = layer.operation.attributes
    rank = data.ndim - 2
    pads: Any = attributes.get("pads", (0,) * (2 * rank))
    around = [pad for axis in reversed(range(rank)) for pad in (pads[axis], pads[axis + rank])]
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    return convolve(
        functional.pad(data, around) if any(around) else data,
        weight,
        bias,
        attributes.get("strides", 1),
        0,
        attributes.get("dilations", 1),
        attributes.get("group", 1),
    )
