"""Weights with which a layer gives from what is left what it gave before: least squares, one layer at a time.

Luo et al., "ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression" (2017), section 3.2.2; He, Zhang
and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks" (2017), section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from optc.ir.core import Graph
from optc.passes.quantization.layers import Layer

RIDGE = 1e-3
"""Of the mean power of what a layer reads: how strongly its weights are held where they are."""


@dataclass
class Fit:
    """Sums over samples of what a layer reads now and of how far its result is from what it was."""

    _gram: np.ndarray | float = 0.0
    _cross: np.ndarray | float = 0.0
    _inputs: np.ndarray | float = 0.0
    _errors: np.ndarray | float = 0.0
    _rows: int = field(default=0)

    def add(self, inputs: np.ndarray, errors: np.ndarray) -> None:
        """Take some samples in.

        Args:
            inputs: what the weights are multiplied with, [rows, inputs].
            errors: the result of before less that of now, [rows, channels].
        """
        x, e = inputs.astype(np.float64), errors.astype(np.float64)
        self._gram = self._gram + x.T @ x
        self._cross = self._cross + x.T @ e
        self._inputs = self._inputs + x.sum(axis=0)
        self._errors = self._errors + e.sum(axis=0)
        self._rows += len(x)

    def change(self, *, biased: bool) -> tuple[np.ndarray, np.ndarray]:
        """What weights [inputs, channels] and bias [channels] change by; the bias by nothing where there is none."""
        gram, cross = np.asarray(self._gram), np.asarray(self._cross)
        sums, errors, rows = np.asarray(self._inputs), np.asarray(self._errors), max(1, self._rows)
        if biased:
            gram = gram - np.outer(sums, sums) / rows
            cross = cross - np.outer(sums, errors) / rows
        held = RIDGE * max(np.trace(gram) / len(gram), 1e-12) + 1e-9
        weights = np.linalg.solve(gram + held * np.eye(len(gram)), cross)
        bias = (errors - sums @ weights) / rows if biased else np.zeros(cross.shape[1])
        return weights, bias


def adjust(graph: Graph, layer: Layer, fit: Fit) -> None:
    """Change a layer's weights, and its bias where it can have one, in place."""
    biased = layer.takes_bias and (layer.operation.operand(2) is None or layer.bias is not None)
    change, shift = fit.change(biased=biased)
    weight = layer.weight
    changed = weight + (change.T if layer.axis == 0 else change).reshape(weight.shape)
    before = 0.0 if layer.bias is None else layer.bias
    layer.operation.set_operand(1, graph.constant(changed.astype(np.float32), f"{layer.name}.weight"))
    if biased:
        bias = graph.constant((before + shift).astype(np.float32), f"{layer.name}.bias")
        layer.operation.set_operands([*layer.operation.operands[:2], bias])
