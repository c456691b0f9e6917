"""What quantization decided, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from optc.ir.core import Value
from optc.passes.quantization.activations import QuantizedActivation
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.schemes import Scheme
from optc.passes.quantization.weights import QuantizedWeight


@dataclass
class QuantizedLayer:
    """A layer's precision.

    Attributes:
        layer: which.
        scheme: its precision.
        weight: its quantized weights.
        bias: float32; differs from the layer's own where it was corrected.
    """

    layer: Layer
    scheme: Scheme
    weight: QuantizedWeight
    bias: np.ndarray | None = None


@dataclass
class QuantizationPlan:
    """All that is needed to write the quantized module.

    Attributes:
        layers: those that are quantized, by name.
        activations: how each value that is read as codes is quantized, by the value whose range it has.
        kept: the layers that stay in float, by name, with the reason.
    """

    layers: dict[str, QuantizedLayer] = field(default_factory=dict)
    activations: dict[Value, QuantizedActivation] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
