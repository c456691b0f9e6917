"""Where the predicted time of an artifact goes, by level, and for which rates: another hour is estimated from that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from optc.costmodel.interface import Candidate, CostModel, Estimate
from optc.costmodel.kernels.machine import machine_class
from optc.costmodel.levels import Spent, reuse_of, spent
from optc.costmodel.state import Rates
from optc.targets.target import Target


def levels_record(
    model: CostModel,
    candidates: Sequence[Candidate],
    estimates: Sequence[Estimate],
    target: Target,
    weights: Sequence[int],
    arena: int,
) -> dict[str, Any]:
    """The entry `levels` of a cost, empty where nobody knows at which rates the target's kernels were measured.

    It holds the class of `machine`, its `rates`, the `seconds` of the kernels by level, and `reuse` (see `Spent.at`).

    Args:
        model: that made the estimates.
        candidates: all kernels.
        estimates: one for each.
        target: that they are for.
        weights: bytes that each of them reads.
        arena: bytes in which values take turns.
    """
    rates = rates_of(model, target)
    if rates is None:
        return {}
    seconds = Spent.total(spent(candidates, estimates, target, rates, threads_of(model), weights, arena))
    return {
        "levels": {
            "machine": machine_class(target),
            "rates": rates.to_dict(),
            "seconds": asdict(seconds),
            "reuse": reuse_of(candidates, arena),
        }
    }


def rates_of(model: CostModel, target: Target) -> Rates | None:
    """The rates for which a cost model predicts, where it knows them."""
    rates = getattr(model, "rates", None)
    return None if rates is None else rates(target)


def threads_of(model: CostModel) -> int:
    """That a cost model shares a kernel among."""
    return int(getattr(model, "threads", 1))
