"""A graph in PyTorch, so that gradients reach its constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from optc.driver.quantization.learning.operators import evaluate
from optc.ir.core import CONSTANT, Graph, Value


class TorchGraph(torch.nn.Module):
    """A graph whose float constants are parameters.

    Gradients end at operations that PyTorch has no equal for; those run on the reference.

    Args:
        graph: not changed; its constants are copied.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph
        self._held: dict[Value, Tensor] = {}
        self.weights = torch.nn.ParameterList()
        self.parameter_of: dict[Value, torch.nn.Parameter] = {}
        for operation in graph:
            if operation.name != CONSTANT:
                continue
            held = torch.from_numpy(np.array(operation.result.constant))
            if held.dtype == torch.float32:
                parameter = torch.nn.Parameter(held)
                self.weights.append(parameter)
                self.parameter_of[operation.result] = parameter
            else:
                self._held[operation.result] = held

    def forward(self, feeds: Mapping[str, Tensor], replaced: Mapping[Value, Tensor] | None = None) -> list[Tensor]:
        """The outputs; arguments as for `compute`."""
        return self.compute(feeds, self._graph.outputs, replaced)

    def compute(
        self, feeds: Mapping[str, Tensor], wanted: Sequence[Value], replaced: Mapping[Value, Tensor] | None = None
    ) -> list[Tensor]:
        """Any values of the graph.

        Args:
            feeds: inputs by name.
            wanted: constants, inputs or results.
            replaced: tensors to take for constants.
        """
        found: dict[Value, Tensor] = {value: feeds[value.name] for value in self._graph.inputs}
        found.update(self._held)
        found.update(self.parameter_of)
        found.update(replaced or {})
        for operation in self._graph:
            if operation.name != CONSTANT:
                operands = [None if value is None else found[value] for value in operation.operands]
                found.update(zip(operation.results, evaluate(operation, operands), strict=False))
        return [found[value] for value in wanted]
