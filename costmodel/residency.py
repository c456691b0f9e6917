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


def predict_in_place(
    model: CostModel, candidates: Sequence[Candidate], target: Target, weights: Sequence[int] | None = None
) -> list[Estimate]:
    """What a cost model says of the kernels of one model, in their places; `weights` as for `in_place`."""
    figures: Callable[[Target], Target] | None = getattr(model, "figures", None)
    known = target if figures is None else figures(target)
    return in_place(candidates, model.predict(candidates, target), known, weights)


def in_place(
    candidates: Sequence[Candidate],
    estimates: Sequence[Estimate],
    target: Target,
    weights: Sequence[int] | None = None,
) -> list[Estimate]:
    """The estimates of a model's kernels, with the time that reading from memory takes what caches do not keep.

    A kernel timed by itself finds its weights in the last cache. Kernels that run in turn find the share of them there
    that the cache keeps until the next run: all while weights and largest values together stay within it, none from
    twice its size on. What reading the rest takes longer is added; timed with weights in memory, kernels took as much
    longer as that, or more.

    Args:
        candidates: the kernels of the model.
        estimates: one for each.
        target: whose caches and memory count.
        weights: bytes of each kernel's as they are stored; None: as the model has them.
    """
    memory = target.memory_bandwidth
    if not candidates or not memory:
        return list(estimates)
    constants, values = zip(*map(weights_and_values, candidates), strict=True)
    sizes = constants if weights is None else weights
    lost = lost_share(sizes, max(values), target)
    last = target.caches[-1] if target.caches else None
    longer = max(0.0, 1.0 / memory - 1.0 / last.bandwidth) if last else 0.0
    found = []
    for estimate, size, data in zip(estimates, sizes, values, strict=True):
        alone = last is not None and size + data <= last.bytes  # else it came from memory there as well
        later = _later(estimate, lost * size * longer) if alone else estimate
        found.append(_at_least(later, lost * size / memory))
    return found


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


def _later(estimate: Estimate, seconds: float) -> Estimate:
    if not seconds:
        return estimate
    low, high = estimate.low + seconds, estimate.high + seconds
    return replace(estimate, seconds=estimate.seconds + seconds, low=low, high=high)


def _at_least(estimate: Estimate, seconds: float) -> Estimate:
    if estimate.seconds >= seconds:
        return estimate
    return replace(estimate, seconds=seconds, low=max(estimate.low, 0.5 * seconds), high=max(estimate.high, seconds))


def weights_and_values(candidate: Candidate) -> tuple[int, int]:
    """Bytes of a kernel's constants, and of everything else that it reads or writes."""
    constant = sum(_bytes(value) for value in candidate.inputs if candidate.is_constant(value))
    return constant, sum(map(_bytes, (*candidate.inputs, *candidate.outputs))) - constant


def written_bytes(candidate: Candidate) -> int:
    """Bytes of a kernel's results."""
    return sum(map(_bytes, candidate.outputs))


def _bytes(value: Value) -> int:
    return value.type.bytes if isinstance(value.type, TensorType) else 0
