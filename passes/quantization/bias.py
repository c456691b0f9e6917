"""Bias correction: what rounded weights shift on average, taken back from the bias.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), section 4.2, with the
means that calibration saw in place of those that BatchNorm implies. Padding counts as if it had the mean.
"""

from __future__ import annotations

import numpy as np

from optc.passes.quantization.layers import Layer


def corrected_bias(layer: Layer, weight: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The bias with which a layer has the same mean in each channel as before, float32.

    Args:
        layer: in float.
        weight: what its weights became.
        means: of each channel of its data.
    """
    error = np.asarray(weight, np.float64) - layer.weight
    if layer.operation.name == "onnx.Conv":
        inside = layer.weight.shape[1]
        groups = len(means) // inside
        grouped = np.repeat(means.reshape(groups, inside), layer.channels // groups, axis=0)
        shift = (error.reshape(layer.channels, inside, -1).sum(axis=2) * grouped).sum(axis=1)
    else:
        shift = error @ means if layer.axis == 0 else means @ error
    bias = layer.bias
    return ((0.0 if bias is None else bias) - shift).astype(np.float32)
