"""What the artifact states of the compile: every decision, and what the result is predicted to cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optc.backends.interface import Option
from optc.costmodel.interface import Estimate
from optc.driver.program.drafts import ShareDraft, flatten
from optc.driver.program.lowering import Lowered
from optc.driver.records.memory import memory_record
from optc.driver.records.origins import view_record
from optc.driver.records.step_facts import step_facts
from optc.passes.base import PassContext


def decisions(context: PassContext, lowered: Lowered, estimates: Sequence[Estimate], threads: int) -> dict[str, Any]:
    """The remarks of the passes, each kernel's schedule, what each step computes and moves, and what shares storage.

    Args:
        context: of the passes that ran.
        lowered: the kernels and the program.
        estimates: one for each kernel call, in the order of the program text.
        threads: that the estimates are for.
    """
    return {
        "remarks": remarks_record(context),
        "kernels": [
            {
                "symbol": kernel.symbol,
                **_option(kernel.selection.chosen),
                "runner_up": None if kernel.selection.runner_up is None else _option(kernel.selection.runner_up),
                "candidates": kernel.selection.points,
                "timed": kernel.selection.timed,
                "reason": kernel.selection.reason,
            }
            for kernel in lowered.kernels
        ],
        "threads": threads,
        "memory": memory_record(lowered.assembly),
        "steps": step_facts(lowered.assembly, estimates),
        "views": [view_record(step.operation) for step in flatten(lowered.drafts) if isinstance(step, ShareDraft)],
    }


def remarks_record(context: PassContext) -> list[dict[str, Any]]:
    """What the passes decided, as plain data."""
    return [
        {
            "pass": remark.pass_name,
            "status": remark.status,
            "what": remark.what,
            "reason": remark.reason,
            "nodes": list(remark.location.nodes),
            "predicted": dict(remark.predicted),
        }
        for remark in context.remarks
    ]


def _option(option: Option) -> dict[str, Any]:
    return {
        "template": option.template,
        "schedule": dict(option.schedule),
        "predicted_seconds": option.predicted,
        "measured_seconds": option.measured,
    }


def cost(lowered: Lowered, estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Predicted latency in seconds, the arena and its lower bound, packed weights by template, and the native share."""
    return {
        "predicted_seconds": sum(estimate.seconds for estimate in estimates),
        "basis": sorted({estimate.basis for estimate in estimates}),
        "arena_bytes": lowered.assembly.plan.arena_bytes,
        "arena_lower_bound": lowered.assembly.plan.lower_bound,
        "packed_weights": dict(lowered.assembly.weights.packed),
        "native_flops": lowered.native.flops,
        "native_nodes": lowered.native.nodes,
    }
