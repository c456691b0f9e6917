"""What products of a vector take where most of its elements are zero: kernels that read no weights for those."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optc.costmodel.interface import Candidate, CostModel, Estimate
from optc.ir.core import Operation
from optc.ops.hints import density_of
from optc.targets.target import Target

if TYPE_CHECKING:
    from optc.costmodel.state import Rates

SCATTERED = 2.6
"""Rows of a matrix that are read with gaps between them take so many times as long as rows in order.

With matrices of 4 to 64 MB, read in rows of 256 bytes by one core: 2.7 and 2.8 at densities of 0.3 and 0.1. What the
second-level cache holds takes no longer (1.0 at 0.3 and 0.5, 256 KB to 1 MB).
"""


def shortened(density: float, weight_bytes: int, target: Target) -> float:
    """The time of a product of one row that skips zeros over that of one that does not, counting zeros aside.

    Args:
        density: the share of the row's elements that are not zero.
        weight_bytes: of the matrix.
        target: whose caches hold it.
    """
    near = target.caches[min(1, len(target.caches) - 1)].bytes if target.caches else 0
    return density * (1.0 if weight_bytes <= near else SCATTERED)


def skips(operation: Operation) -> float | None:
    """The density of what an operation multiplies by a matrix, where a kernel may skip zeros; None elsewhere."""
    density = density_of(operation)
    if density is None or operation.attributes.get("transA", 0):
        return None
    data, weight = operation.present_operands[:2]
    shape = data.tensor_type.static_shape
    if data.dtype.name != "f32" or len(shape) < 2 or math.prod(shape[:-1]) != 1 or weight.tensor_type.rank != 2:
        return None
    return density


@dataclass(frozen=True)
class SkippingCostModel:
    """Another cost model, whose products take less where zeros are skipped.

    Attributes:
        model: knows nothing of zeros.
    """

    model: CostModel

    @property
    def threads(self) -> int:
        """That the other model shares a kernel among."""
        return int(getattr(self.model, "threads", 1))

    def figures(self, target: Target) -> Target:
        """The target with the figures that the other model takes for it."""
        own = getattr(self.model, "figures", None)
        return target if own is None else own(target)

    def rates(self, target: Target) -> Rates | None:
        """The rates of the machine for which the other model predicts, where it knows them."""
        own = getattr(self.model, "rates", None)
        return None if own is None else own(target)

    def predict(self, candidates: Sequence[Candidate], target: Target) -> list[Estimate]:
        """See CostModel."""
        estimates = self.model.predict(candidates, target)
        return [_shorter(each, made, target) for each, made in zip(candidates, estimates, strict=True)]


def _shorter(candidate: Candidate, estimate: Estimate, target: Target) -> Estimate:
    for operation in candidate.operations:
        density = skips(operation) if density_of(operation) is not None else None
        if density is not None and "tvm" in target.backends:
            share = shortened(density, operation.present_operands[1].tensor_type.bytes, target)
            if share < 1:
                times = (estimate.seconds * share, estimate.low * share, estimate.high)
                return replace(estimate, seconds=times[0], low=times[1], high=times[2])
    return estimate
