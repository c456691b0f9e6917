"""What kernels take in their place in a model: weights that do not stay in the caches between runs come from memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from optc.costmodel.interface import Candidate, CostModel, Estimate
from optc.ir.core import Value
from optc.ir.types import TensorType
from optc.targets.target import Target

KEPT = 0.5
"""The share of a shared cache that one program keeps what it needs in: the rest is others', or lost to conflicts.

Under a shared cache of 32 MiB, a classifier's weights were read at 73, 51, 45, 40 and 33 GB/s in models whose weights
and values are 12, 18, 22, 24 and 26 MB; memory alone gives 20 to 33.
"""


def predict_in_place(model: CostModel, candidates: Sequence[Candidate], target: Target) -> list[Estimate]:
    """What a cost model says of the kernels of one model, in their places."""
    figures: Callable[[Target], Target] | None = getattr(model, "figures", None)
    known = target if figures is None else figures(target)
    return in_place(candidates, model.predict(candidates, target), known)


def in_place(candidates: Sequence[Candidate], estimates: Sequence[Estimate], target: Target) -> list[Estimate]:
    """The estimates of a model's kernels, none below the time that reading its weights from memory takes.

    A kernel timed by itself finds its weights in the last cache. Kernels that run in turn find the share of them there
    that the cache keeps until the next run: all while weights and largest values together stay within it, none from
    twice its size on.

    Args:
        candidates: the kernels of the model.
        estimates: one for each.
        target: whose caches and memory count.
    """
    memory = target.memory_bandwidth
    if not candidates or not memory:
        return list(estimates)
    weights, values = zip(*map(weights_and_values, candidates), strict=True)
    lost = lost_share(weights, max(values), target)
    return [_at_least(estimate, lost * size / memory) for estimate, size in zip(estimates, weights, strict=True)]


def lost_share(weights: Sequence[int], values: int, target: Target) -> float:
    """The share of a model's weights that the last cache does not keep from one run to the next.

    Args:
        weights: bytes of each kernel's.
        values: bytes of the most that a kernel reads and writes beside them.
        target: whose last cache counts.
    """
    capacity = KEPT * target.caches[-1].bytes if target.caches else 0.0
    excess = (sum(weights) + values) / capacity - 1.0 if capacity else 1.0
    return min(1.0, max(0.0, excess))


def _at_least(estimate: Estimate, seconds: float) -> Estimate:
    if estimate.seconds >= seconds:
        return estimate
    return replace(estimate, seconds=seconds, low=max(estimate.low, 0.5 * seconds), high=max(estimate.high, seconds))


def weights_and_values(candidate: Candidate) -> tuple[int, int]:
    """Bytes of a kernel's constants, and of everything else that it reads or writes."""
    constant = sum(_bytes(value) for value in candidate.inputs if candidate.is_constant(value))
    return constant, sum(map(_bytes, (*candidate.inputs, *candidate.outputs))) - constant


def _bytes(value: Value) -> int:
    return value.type.bytes if isinstance(value.type, TensorType) else 0
