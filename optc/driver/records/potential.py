"""What a model in float could gain from int8 on a target, before anybody has calibration data."""

from __future__ import annotations

from typing import Any

from optc.costmodel.analytical import AnalyticalCostModel
from optc.ir.core import Module
from optc.passes.quantization.layers import layers_of
from optc.passes.quantization.prices import Pricing
from optc.targets.target import Target

_CODES = frozenset({"onnx.QuantizeLinear", "onnx.DequantizeLinear"})


def int8_potential(module: Module, target: Target) -> list[dict[str, Any]]:
    """For each layer of a model in float its `name`, `float_seconds` and `integer_seconds`, by the roofline.

    Layers are priced alone: what conversions between floats and codes cost, and what neighbours on codes save, is left
    out. Empty for a model that holds codes, and for a target without arithmetic on bytes.

    Args:
        module: as imported.
    """
    pricing = Pricing("latency", target, AnalyticalCostModel())
    if not pricing.computes_on_codes or any(operation.name in _CODES for operation in module.walk()):
        return []
    return [
        {
            "name": layer.name,
            "float_seconds": pricing.operation(layer.operation, coded=False),
            "integer_seconds": pricing.operation(layer.operation, coded=True),
        }
        for layer in layers_of(module.main)
    ]
