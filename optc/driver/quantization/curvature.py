"""The curvature of a model's error by its weights: Hutchinson's estimate of a Hessian's diagonal.

After Dong et al., "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks" (2020), section 3.1, with the
error of the outputs relative to their power in place of a training loss, so that no labels are needed. At the model's
own weights that error is zero and its Hessian the Gauss-Newton matrix, so random signs at the outputs and one backward
pass estimate all of it at once; no element can come out negative. The trace is the sum of the diagonal; the diagonal
also tells sensitive channels from others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.torch_graph import TorchGraph
from optc.ir.core import Module, Value

SAMPLES = 128
"""Samples of the data that the error is taken over."""

PROBES = 4
"""Random signs of the outputs, for each batch."""


def hessian_diagonals(
    module: Module,
    values: Sequence[Value],
    data: Data,
    *,
    samples: int = SAMPLES,
    probes: int = PROBES,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[Value, np.ndarray]:
    """The diagonal of the Hessian of the outputs' noise-to-signal ratio by each of some values.

    Half of it, times the squares of a perturbation and summed, is the noise that the perturbation makes at the outputs,
    relative to their power.

    Args:
        module: in float.
        values: float constants of its main graph, inputs or results.
        data: to run.
        samples: of the data that are used.
        probes: random signs of the outputs for each batch.
        seed: of the signs.
        progress: called with (what, done, total).

    Returns:
        an array of the shape of each constant. For an input or a result, whose perturbations differ from sample to
        sample, the trace over a batch.
    """
    graph = TorchGraph(module.main)
    chosen = list(dict.fromkeys(module.main.outputs))
    random = torch.Generator().manual_seed(seed)
    sums = {value: np.zeros(value.shape if value.is_constant else ()) for value in values}
    batches = list(islice(data.batches(), max(1, samples // max(1, data.batch))))
    for number, feeds in enumerate(batches):
        progress("estimating curvatures", number, len(batches))
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}
        for tensor in tensors.values():
            tensor.requires_grad_(tensor.is_floating_point())
        found = graph.compute(tensors, [*chosen, *values])
        outputs = [output for output in found[: len(chosen)] if output.requires_grad]
        # Without a gradient nothing in front of it matters to an output.
        reached = {value: each for value, each in zip(values, found[len(chosen) :], strict=True) if each.requires_grad}
        for probe in range(probes):
            # The error is a square, |y - y0|^2 / |y0|^2: its Hessian is 2 J'J / |y0|^2, and E(J'u)^2 has its diagonal.
            along = sum(
                (output * (torch.randint(0, 2, output.shape, generator=random) * 2.0 - 1.0)).sum()
                / output.detach().square().sum().sqrt().clamp_min(1e-30)
                for output in outputs
            )
            again = probe + 1 < probes
            slopes = torch.autograd.grad(along, list(reached.values()), retain_graph=again, allow_unused=True)
            for value, slope in zip(reached, slopes, strict=True):
                if slope is not None:
                    squares = slope.square().double()
                    sums[value] += 2.0 * (squares if value.is_constant else squares.sum()).numpy()
    return {value: total / (probes * len(batches)) for value, total in sums.items()}
