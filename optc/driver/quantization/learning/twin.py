"""A quantized module as a PyTorch module: the same graph, with what its plan says as parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from optc.driver.quantization.learning.fake_quant import ActivationQuantizer, SoftWeight, StraightWeight
from optc.driver.quantization.learning.learned_bits import LearnedBits
from optc.driver.quantization.learning.operators import evaluate
from optc.errors import ModelError
from optc.ir.core import CONSTANT, Module, Operation, Value
from optc.passes.quantization.plan import QuantizationPlan, QuantizedLayer
from optc.passes.quantization.sites import sites_of

Values = Mapping[Value, Tensor]

Weights = type[SoftWeight] | type[StraightWeight] | type[LearnedBits]
"""What is learned about weights: how they are rounded, the weights themselves, or also how many bits they have."""


class QuantizedLayerModule(nn.Module):
    """The weights and the bias of one layer.

    Args:
        item: the layer in the plan.
        weights: what is learned about them.
    """

    def __init__(self, item: QuantizedLayer, weights: Weights) -> None:
        super().__init__()
        self.item = item
        layer = item.layer
        self.weight = weights(layer.weight, item.weight)
        replaceable = layer.takes_bias and (layer.operation.operand(2) is None or layer.bias is not None)
        start = item.bias if item.bias is not None else np.zeros(layer.channels)
        self.bias = nn.Parameter(torch.from_numpy(np.array(start, np.float32))) if replaceable else None

    def effective_bias(self) -> Tensor | None:
        """What is added: nothing where a channel has no bits."""
        if self.bias is None or not isinstance(self.weight, LearnedBits):
            return self.bias
        return torch.where(self.weight.alive, self.bias, 0.0)

    def commit(self) -> None:
        """Write what was learned into the plan."""
        self.item.weight = self.weight.learned
        bias = self.effective_bias()
        if bias is not None:
            self.item.bias = bias.detach().numpy().copy()


class Twin(nn.Module):
    """Computes values of a module, in float or quantized.

    Args:
        module: in float; not changed.
        plan: made for it.
        weights: what is learned about them.

    Raises:
        ModelError: the module has branches or loops.
    """

    def __init__(self, module: Module, plan: QuantizationPlan, *, weights: Weights = SoftWeight) -> None:
        super().__init__()
        if nested := next((operation for operation in module.main if operation.graphs), None):
            raise ModelError(
                "a model with branches or loops cannot be trained in PyTorch",
                where=str(nested.location),
                why=f"{nested.name.removeprefix('onnx.')} runs graphs of its own",
                hint="--rounding gptq needs no training",
            )
        self.plan = plan
        items = list(plan.layers.values())
        self.layers = nn.ModuleList(QuantizedLayerModule(item, weights) for item in items)
        coded = [item.layer for item in items if item.scheme.activations is not None]
        self.sites = sites_of(module.main, coded)
        self.sources = [source for source in dict.fromkeys(self.sites.sources.values()) if source in plan.activations]
        self.activations = nn.ModuleList(ActivationQuantizer(plan.activations[source]) for source in self.sources)
        self.inputs = list(module.main.inputs)
        self.outputs = list(dict.fromkeys(module.main.outputs))
        self.operations = [operation for operation in module.main if operation.name != CONSTANT]
        self._by_operation = {item.layer.operation: layer for item, layer in zip(items, self.layers, strict=True)}
        self._by_source = dict(zip(self.sources, self.activations, strict=True))
        self._readers = {value: set(readers) for value, readers in self.sites.readers.items()}
        self._constants: dict[Value, Tensor] = {}

    def layer(self, operation: Operation) -> QuantizedLayerModule | None:
        """What is learned about an operation's weights."""
        return self._by_operation.get(operation)

    def quantizer(self, value: Value) -> ActivationQuantizer | None:
        """What is learned about a value that is read as codes."""
        source = self.sites.sources.get(value)
        return None if source is None else self._by_source[source]

    def compute(
        self,
        operations: Sequence[Operation],
        known: Values,
        wanted: Collection[Value],
        *,
        quantized: bool = True,
    ) -> dict[Value, Tensor]:
        """Values that operations give.

        Args:
            operations: in order; what they read they compute, is a constant or is in `known`.
            known: before quantization.
            wanted: results of theirs, or known ones.
            quantized: whether weights and activations pass through their formats.
        """
        values = dict(known)
        coded: dict[Value, Tensor] = {}
        for operation in operations:
            operands: list[Tensor | None] = []
            for value in operation.operands:
                if value is None:
                    operands.append(None)
                elif value.is_constant:
                    operands.append(self._constant(value))
                elif quantized and operation in self._readers.get(value, ()):
                    if value not in coded:
                        quantizer = self.quantizer(value)
                        assert quantizer is not None
                        coded[value] = quantizer(values[value])
                    operands.append(coded[value])
                else:
                    operands.append(values[value])
            layer = self._by_operation.get(operation) if quantized else None
            if layer is not None:
                operands[1] = layer.weight()
                if (bias := layer.effective_bias()) is not None:
                    operands[2:] = [bias]
            values.update(zip(operation.results, evaluate(operation, operands), strict=False))
        return {value: values[value] for value in wanted}

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs of the whole quantized model; one tensor where there is one."""
        known = dict(zip(self.inputs, inputs, strict=True))
        found = self.compute(self.operations, known, self.outputs)
        results = tuple(found[value] for value in self.outputs)
        return results[0] if len(results) == 1 else results

    def commit(self) -> None:
        """Write what was learned into the plan."""
        for layer in self.layers:
            layer.commit()
        for source, quantizer in self._by_source.items():
            self.plan.activations[source] = quantizer.learned

    def known(self, value: Value, values: Values) -> Tensor:
        """A constant, or one of some values."""
        return self._constant(value) if value.is_constant else values[value]

    def _constant(self, value: Value) -> Tensor:
        if value not in self._constants:
            self._constants[value] = torch.from_numpy(np.array(value.constant))
        return self._constants[value]
