"""Make a model fit a memory limit: what saves memory for time is tried and priced where the plain plan is too large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from optc.costmodel.interface import Candidate
from optc.driver.artifacts.product import Plan
from optc.driver.options import CompileOptions
from optc.driver.program.lowering import FUSED, Lowered, group_of
from optc.frontends.summary import peak_activation_bytes
from optc.ir.clone import clone_module
from optc.ir.core import Module
from optc.passes.base import PassContext, Remark
from optc.passes.memory.order import live_bytes
from optc.passes.memory.patches import stages
from optc.passes.simplify import SIMPLIFY

COUNTS = (2, 4, 8)
"""Patches to try."""

PEAK = "peak"
"""What the remark is called that holds the bytes before and after."""

_ENDS = 3  # of the stages that get smaller towards their end, the longest ones are tried


@dataclass
class Fitted:
    """A planned module, what its passes said, and its code."""

    module: Module
    context: PassContext
    lowered: Lowered


@dataclass
class _Trial:
    what: str
    module: Module
    context: PassContext
    seconds: float
    bytes: int


Lower = Callable[[Module], Lowered]


def fitted(module: Module, pipeline: str, options: CompileOptions, plan: Plan, lower: Lower) -> Fitted:
    """Plan and lower a module so that its arena keeps to the limit, at the least predicted cost.

    Nothing is divided where there is no limit, where the plain plan fits, or where the user chose the passes.

    Args:
        module: as imported; may be planned in place.
        pipeline: the standard passes, which begin with `simplify`.
        options: with the limit.
        plan: runs the passes that its options name over a module.
        lower: makes its code.

    Returns:
        the fastest that fits; where none does, the one with the smallest arena.
    """
    peak = peak_activation_bytes(module.main)
    found = _fitted(module, pipeline, options, plan, lower)
    if peak is not None:
        reason = f"{peak} bytes live at once as imported, in an arena of {_arena(found)}"
        predicted = {"bytes_before": float(peak), "bytes": float(_arena(found))}
        found.context.remarks.append(Remark("fit", "applied", PEAK, reason, predicted=predicted))
    return found


def _fitted(module: Module, pipeline: str, options: CompileOptions, plan: Plan, lower: Lower) -> Fitted:
    limit = options.memory_limit
    if limit is None or options.passes is not None or not pipeline.startswith(f"{SIMPLIFY},"):
        context = plan(module, options)
        return Fitted(module, context, lower(module))
    source = clone_module(module)
    context = plan(module, options)
    best = Fitted(module, context, lower(module))
    if _arena(best) <= limit:
        return best
    plain = _seconds(best.module, best.context)
    trials = [_try(source, text, options, plan) for text in _divisions(source, pipeline, options, plan)]
    for trial in sorted(trials, key=lambda each: (max(0, each.bytes - limit), each.seconds)):
        found = Fitted(trial.module, trial.context, lower(trial.module))
        if _arena(found) < _arena(best):
            reason = f"{trial.seconds / plain - 1:+.1%} of predicted time for {_arena(best) - _arena(found)} bytes less"
            predicted = {"seconds_before": plain, "seconds": trial.seconds, "bytes": float(_arena(found))}
            found.context.remarks.append(Remark("fit", "applied", trial.what, reason, predicted=predicted))
            best = found
        if _arena(best) <= limit:
            break
    return best


def _arena(fitted: Fitted) -> int:
    return fitted.lowered.assembly.plan.arena_bytes


def _divisions(source: Module, pipeline: str, options: CompileOptions, plan: Plan) -> list[str]:
    """The pipelines to try: values computed again, and patches of the stages whose results are the smallest so far."""
    simple = clone_module(source)
    plan(simple, replace(options, passes=SIMPLIFY))
    ends = []
    least = None
    for stage in stages(simple.main):
        size = stage.result.tensor_type.bytes
        if least is None or size < least:
            least = size
            ends.append(len(stage.operations))
    rest = pipeline.removeprefix(f"{SIMPLIFY},")
    patches = [
        f"{SIMPLIFY},patches{{operations={end},count={count}}},{rest}" for end in ends[-_ENDS:] for count in COUNTS
    ]
    return [f"{pipeline},rematerialize", *patches]


def _try(source: Module, passes: str, options: CompileOptions, plan: Plan) -> _Trial:
    module = clone_module(source)
    context = plan(module, replace(options, passes=passes))
    what = "rematerialize" if passes.endswith("rematerialize") else "patches"
    return _Trial(what, module, context, _seconds(module, context), live_bytes(module.main))


def _seconds(module: Module, context: PassContext) -> float:
    """The predicted time of all kernels."""
    assert context.cost_model is not None and context.target is not None
    groups = [group_of(operation) for operation in module.walk() if operation.name == FUSED]
    candidates = [Candidate.of_graph(group.body, group.constants) for group in groups]
    return sum(estimate.seconds for estimate in context.cost_model.predict(candidates, context.target))
