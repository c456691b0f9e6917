"""Rows of which a matrix product sees only the elements that matter most to it.

CHESS (He et al., "Optimizing LLM Inference via Channel-Wise Thresholding and Selective Sparsification", 2024) keeps an
element of a row where it, times the size of the weights that it meets, exceeds one number for the whole layer: a
threshold for each channel.
"""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation
from optc.ops.hints import DENSITY
from optc.passes.quantization.layers import Layer
from optc.passes.rewrite.builder import Builder


def can_thin(layer: Layer) -> bool:
    """Whether a layer is a product of rows, one for each sample, with a matrix."""
    return layer.operation.name in ("onnx.MatMul", "onnx.Gemm") and layer.data.tensor_type.rank == 2


def thresholds(layer: Layer, rows: np.ndarray, density: float) -> np.ndarray:
    """The magnitude below which an element becomes zero, float32 [channels].

    Args:
        layer: one that `can_thin` accepts.
        rows: samples of what it reads [samples, channels].
        density: the share of all elements of the samples that stays.
    """
    sizes = np.linalg.norm(np.asarray(layer.weight, np.float64), axis=1 - layer.reduced)
    least = np.quantile(np.abs(rows) * sizes, 1.0 - density)
    # A channel that nothing reads needs none of its elements.
    unread = np.finfo(np.float32).max
    return np.where(sizes > 0, least / np.where(sizes > 0, sizes, 1.0), unread).astype(np.float32)


def thin(layer: Layer, least: np.ndarray, density: float) -> Operation:
    """Let a layer read zeros below thresholds, in place, and note how dense its rows are; the layer's operation."""
    operation = layer.operation
    op = Builder(operation)
    kept = op.Where(op.GreaterOrEqual(op.Abs(layer.data), least), layer.data, np.zeros((), np.float32))
    for made in op.created:
        made.location = operation.location
    operation.set_operand(0, kept)
    operation.attributes[DENSITY] = density
    return operation
