"""What the artifact states of the compile: every decision, and what the result is predicted to cost."""

from __future__ import annotations

from typing import Any

from optc.costmodel.interface import Candidate
from optc.driver.drafts import KernelDraft, flatten
from optc.driver.lowering import Lowered
from optc.ir.core import Module
from optc.passes.base import PassContext
from optc.targets.target import Target


def decisions(context: PassContext, lowered: Lowered) -> dict[str, Any]:
    """The remarks of the passes, and the schedule of each kernel."""
    return {
        "remarks": [
            {
                "pass": remark.pass_name,
                "status": remark.status,
                "what": remark.what,
                "reason": remark.reason,
                "nodes": list(remark.location.nodes),
                "predicted": dict(remark.predicted),
            }
            for remark in context.remarks
        ],
        "kernels": [
            {
                "symbol": kernel.symbol,
                "template": kernel.template,
                "schedule": dict(kernel.schedule),
                "candidates": kernel.candidates[0],
            }
            for kernel in lowered.kernels
        ],
    }


def cost(lowered: Lowered, module: Module, context: PassContext, target: Target) -> dict[str, Any]:
    """Predicted latency in seconds, the arena and its lower bound in bytes, and the share that runs natively."""
    groups = [step.operation.graphs["body"] for step in flatten(lowered.drafts) if isinstance(step, KernelDraft)]
    assert context.cost_model is not None
    estimates = context.cost_model.predict([Candidate.of_graph(body) for body in groups], target)
    return {
        "predicted_seconds": sum(estimate.seconds for estimate in estimates),
        "basis": sorted({estimate.basis for estimate in estimates}),
        "arena_bytes": lowered.assembly.plan.arena_bytes,
        "arena_lower_bound": lowered.assembly.plan.lower_bound,
        "native_flops": lowered.native.flops,
        "native_nodes": lowered.native.nodes,
    }
