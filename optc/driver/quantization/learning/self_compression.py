"""Fine-tuning that also settles how many bits each channel has, and takes out those that end with none.

    model = SelfCompression.of(network, calibration, example_inputs=(images,))
    optimizer = torch.optim.Adam(model.groups(weights=1e-3, scales=1e-3, biases=1e-3, bits=0.5))
    loss = cross_entropy(model(images), labels) + 0.05 * model.price()
    model.write("network.onnx")                              # without the channels that have no bits

As in Cséfalvay and Imber, "Self-Compressing Neural Networks" (2023), for a trained network and for any graph: which
channels can only go together is found in it (`optc.passes.structure.channels`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optc.driver.quantization.learning.dead_channels import dead_units, without_units
from optc.driver.quantization.learning.fine_tuning import FineTuning
from optc.driver.quantization.learning.learned_bits import LearnedBits
from optc.driver.quantization.learning.twin import QuantizedLayerModule, Twin
from optc.driver.quantization.quantize import Quantizer
from optc.ir.core import Module, Operation
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.structure.channels import channels_of


class SelfCompression(FineTuning):
    """A quantized model whose channels have bits as parameters too; see `FineTuning`.

    Args:
        quantizer: of the model, calibrated.
        scheme: with weights in whole numbers and without groups; its bits are the most that a channel has.
        keep_float: layers that stay in float.
    """

    def __init__(self, quantizer: Quantizer, scheme: str = "int8", *, keep_float: Iterable[str] = ()) -> None:
        super().__init__(quantizer, scheme, keep_float=keep_float)
        channels = channels_of(quantizer.module.main)
        self._units: dict[Operation, np.ndarray] = {}
        self._makers: dict[int, list[tuple[Operation, int]]] = {}
        for item in channels.slices:
            units = channels.units(item.ids)
            if item.reads:
                self._units[item.operation] = units
            elif item.position == 1:
                for place, unit in enumerate(units.tolist()):
                    self._makers.setdefault(unit, []).append((item.operation, place))

    def _twin(self, plan: QuantizationPlan) -> Twin:
        return Twin(self.quantizer.module, plan, weights=LearnedBits)

    def groups(self, *, weights: float, scales: float, biases: float, bits: float = 0.0) -> list[dict[str, Any]]:
        """As of `FineTuning`, with a rate for the bits of channels; that is hundreds of times those of weights."""
        found = super().groups(weights=weights, scales=scales, biases=biases)
        if bits > 0:
            found.append({"params": [layer.weight.depth for layer in self._layers], "lr": bits})
        return found

    @property
    def _layers(self) -> list[QuantizedLayerModule]:
        return list(self.twin.layers)

    @property
    def bits(self) -> dict[str, np.ndarray]:
        """Of each channel of each layer."""
        return {layer.item.layer.name: layer.weight.bits.detach().numpy().copy() for layer in self._layers}

    def price(self) -> Tensor:
        """Bits that the weights take, for each weight that the model began with; those that read channels without any
        bits take none."""
        alive = self._alive()
        total, count = torch.zeros(()), 0
        for layer in self._layers:
            weight = layer.weight
            size = weight.values.numel()
            units = self._units.get(layer.item.layer.operation)
            read = 1.0 if units is None else float(np.mean([self._makes(int(unit), alive) for unit in units]))
            total = total + weight.bits.sum() * (read * size / len(weight.depth))
            count += size
        return total / count

    def _alive(self) -> dict[Operation, np.ndarray]:
        return {layer.item.layer.operation: layer.weight.alive.numpy() for layer in self._layers}

    def _makes(self, unit: int, alive: dict[Operation, np.ndarray]) -> bool:
        """Whether any layer gives something at a unit."""
        makers = self._makers.get(unit, [])
        return not makers or any(operation not in alive or alive[operation][place] for operation, place in makers)

    def module(self) -> Module:
        """The model as it is now, in QDQ form, without the channels that are zero wherever they are read."""
        self.twin.commit()
        feeds = next(iter(self.quantizer.data.batches()))
        module = self.quantizer.module
        known = {value: torch.from_numpy(np.array(feeds[value.name])) for value in self.twin.inputs}
        alive: dict[Operation, np.ndarray | None] = {layer.operation: None for layer in self.quantizer.layers}
        for each in self._layers:
            operation = each.item.layer.operation
            # A bias that the layer keeps whatever is learned can make something of nothing.
            if each.bias is not None or operation.operand(2) is None:
                alive[operation] = each.weight.alive.numpy()
        return without_units(module, self.plan, dead_units(module, self.twin, alive, known))
