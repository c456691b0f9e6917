"""A part of a graph in PyTorch: what computes some of its values from others, with its weights as parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from optc.driver.quantization.learning.operators import evaluate
from optc.errors import ModelError
from optc.ir.core import CONSTANT, Graph, Operation, Value

_WEIGHTED = ("onnx.Conv", "onnx.Gemm", "onnx.MatMul", "onnx.LayerNormalization")


class Section(nn.Module):
    """Operations between values of a graph.

    Float constants that layers read from their second operand on are parameters; all others stay as they are.

    Args:
        graph: not changed; its constants are copied.
        takes: values that are given.
        gives: values that are computed from them.

    Raises:
        ModelError: the values that are given do not suffice, or a branch or loop lies between.
    """

    def __init__(self, graph: Graph, takes: Sequence[Value], gives: Sequence[Value]) -> None:
        super().__init__()
        self.takes, self.gives = tuple(takes), tuple(gives)
        self.operations = operations_between(graph, takes, gives)
        self.weights = nn.ParameterDict()
        self.names: dict[Value, str] = {}
        self._held: dict[Value, str] = {}
        for operation in self.operations:
            for place, value in enumerate(operation.operands):
                if value is None or not value.is_constant or value in self.names:
                    continue
                array = np.array(value.constant)
                if operation.name in _WEIGHTED and place and array.dtype == np.float32:
                    self._held.pop(value, None)
                    self.names[value] = f"w{len(self.names)}"
                    self.weights[self.names[value]] = nn.Parameter(torch.from_numpy(array))
                elif value not in self._held:
                    self._held[value] = f"held{len(self._held)}"
                    self.register_buffer(self._held[value], torch.from_numpy(array))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The values that it gives; one tensor where there is one."""
        found: dict[Value, Tensor] = dict(zip(self.takes, inputs, strict=True))
        found.update((value, self.weights[name]) for value, name in self.names.items())
        found.update((value, getattr(self, name)) for value, name in self._held.items())
        for operation in self.operations:
            operands = [None if value is None else found[value] for value in operation.operands]
            found.update(zip(operation.results, evaluate(operation, operands), strict=False))
        results = tuple(found[value] for value in self.gives)
        return results[0] if len(results) == 1 else results

    def learned(self) -> dict[Value, np.ndarray]:
        """The weights as they are now, by the constants that they began as."""
        return {value: self.weights[name].detach().numpy().copy() for value, name in self.names.items()}


def operations_between(graph: Graph, takes: Sequence[Value], gives: Sequence[Value]) -> list[Operation]:
    """The operations that compute values of a graph from others, in order.

    Raises:
        ModelError: the values that are given do not suffice, or a branch or loop lies between.
    """
    wanted = [value for value in gives if value not in takes]
    found: set[Operation] = set()
    while wanted:
        value = wanted.pop()
        producer = value.producer
        if producer is None:
            given, due = (" and ".join(f"'{each.name}'" for each in values) for values in (takes, gives))
            raise ModelError(
                "the graph cannot be divided there",
                where=graph.name,
                why=f"{due} also depends on '{value.name}', not only on {given}",
                hint="cut at a value that all data pass through",
            )
        if producer in found:
            continue
        if producer.graphs:
            raise ModelError(
                "a model with branches or loops cannot be trained in PyTorch",
                where=str(producer.location),
                why=f"{producer.name.removeprefix('onnx.')} runs graphs of its own",
            )
        found.add(producer)
        wanted += [each for each in producer.present_operands if each not in takes and not each.is_constant]
    return [operation for operation in graph if operation in found and operation.name != CONSTANT]


def value_named(graph: Graph, name: str) -> Value:
    """A value of a graph by the user's name of it.

    Raises:
        ModelError: there is none.
    """
    from optc.ir.source import near

    known = {value.name: value for value in graph.inputs}
    known.update({value.name: value for operation in graph for value in operation.results if not value.is_constant})
    known.update(zip(graph.output_names, graph.outputs, strict=True))
    if name not in known:
        raise ModelError(f"no value is called '{name}'", where=graph.name, hint=near(name, list(known)))
    return known[name]
