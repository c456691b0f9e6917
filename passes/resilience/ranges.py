"""Range restriction: what a layer computes outside of what it ever computed is taken for an error and becomes zero.

As Ranger (Chen, Li, Pattabiraman, "A Low-cost Fault Corrector for Deep Neural Networks through Range Restriction", DSN
2021) bounds activations, with a range for each channel as FitAct (Ghavami et al., DATE 2022) has one for each neuron.
Zero instead of the bound, since the bound is itself a strong activation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from optc.ir.core import Module
from optc.ops.restriction import RESTRICT
from optc.passes.quantization.layers import Layer
from optc.passes.rewrite.builder import Builder


def restrict_ranges(module: Module, bounds: Mapping[Layer, np.ndarray]) -> None:
    """Put a check behind the layers of a module, in place.

    Args:
        module: in float.
        bounds: of each layer, the greatest magnitude of each channel: float32 [channels]. What is beyond, or not a
            number, becomes zero.
    """
    for layer, bound in bounds.items():
        _restrict(layer, bound)


def _restrict(layer: Layer, bound: np.ndarray) -> None:
    operation, result = layer.operation, layer.operation.result
    assert operation.graph is not None
    readers = list(result.users)
    op = Builder(operation.next or operation.graph.terminator)
    shape = [1] * len(result.tensor_type.shape or ())
    shape[layer.channel_axis] = layer.channels
    # One comparison instead of one with each end: half the work, and nearly the same range behind a normalization.
    kept = op.call(RESTRICT, (result, np.asarray(bound, np.float32).reshape(shape)))
    kept.name, result.name = result.name, f"{result.name}.unchecked"
    for made in op.created:
        made.location = operation.location
    result.replace_by(kept, only=readers)
