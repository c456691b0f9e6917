"""Groups without a contraction: one nest for each stage and output, or rows that run all of them in turn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optc.backends.tvm.capability import supports
from optc.backends.tvm.emission.blocks import Emitter
from optc.backends.tvm.emission.kernel import GroupKernel, NotInRows
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import LOWERINGS
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.ir.core import CONSTANT
from optc.ops.declaration import Kind, declaration_of

if TYPE_CHECKING:
    from optc.targets.target import Target


def group_refusal(group: Group) -> str | None:
    """Why the operations of a group cannot be lowered one by one; None when they can."""
    for operation in group.body:
        reason = supports(operation)
        if reason is None and operation.name not in LOWERINGS and operation.name != CONSTANT:
            reason = "it needs a template of its own"
        if reason is not None:
            return f"{operation.name}: {reason}"
    if sum(declaration_of(operation.name).kind is Kind.CONTRACTION for operation in group.body) > 1:
        return "several contractions"
    return None


def pointwise_refusal(group: Group) -> str | None:
    """Why a group is not made of element-wise and movement operations only; None when it is."""
    refusal = group_refusal(group)
    if refusal is not None:
        return refusal
    return "it has intermediate results" if GroupKernel(group).stages else None


def seconds(group: Group, target: Target) -> float:
    """One core's time for a group by its memory traffic and arithmetic, at an eighth of the peak."""
    moved = sum(value.tensor_type.bytes for value in (*group.body.inputs, *group.body.outputs))
    work = sum(declaration_of(operation.name).flops(operation) for operation in group.body)
    memory = moved / target.memory_bandwidth if target.memory_bandwidth else 0.0
    peak = target.peak_flops.get("f32", 0.0)
    return memory + (8 * work / peak if peak else 0.0)


def worth_threads(group: Group, target: Target) -> bool:
    """Whether waking the other cores costs clearly less than they save."""
    return target.cores > 1 and seconds(group, target) > 4 * target.parallel_seconds


def emitter_for(target: Target, schedule: Schedule) -> Emitter:
    """The settings of a schedule's point."""
    knobs = dict(schedule)
    return Emitter(target.vector_bytes, lanes_scale=knobs.get("vectors", 1), accumulators=knobs.get("accumulators", 4))


class Generic(Template):
    """Any group whose operations have lowerings: stage after stage, each stored as a whole. Always legal."""

    name = "generic"
    priority = -10

    def refuses(self, group: Group, target: Target) -> str | None:
        return group_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [(("accumulators", 4), ("vectors", 1))]

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        return GroupKernel(group).emit((), emitter_for(target, schedule), threads=worth_threads(group, target))

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        return seconds(group, target)


class Rowwise(Generic):
    """Groups whose stages are read tile by tile: softmax, normalisations, pooling, reductions with an epilogue."""

    name = "rowwise"
    priority = 5

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = group_refusal(group)
        if refusal is not None:
            return refusal
        if not GroupKernel(group).stages:
            return "nothing is reduced"
        made = self._in_rows(group, emitter_for(target, self.space(group, target)[0]), threads=False)
        return made if isinstance(made, str) else None

    def _in_rows(self, group: Group, emitter: Emitter, *, threads: bool) -> KernelDefinition | str:
        """The kernel in the finest tiles that its stages are read in, or why there are none."""
        reason = "its stages have no rows in common"
        kernel = GroupKernel(group)
        geometry = kernel.geometry()
        while math.prod(geometry) > 1:
            try:
                return kernel.emit(geometry, emitter, threads=threads)
            except NotInRows as refusal:
                reason = str(refusal)
            geometry = geometry[:-1]
        return reason

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [(("accumulators", count), ("vectors", 1)) for count in (4, 2, 8)]

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        made = self._in_rows(group, emitter_for(target, schedule), threads=worth_threads(group, target))
        assert isinstance(made, KernelDefinition), made
        return made


class Pointwise(Generic):
    """Groups of element-wise and movement operations only."""

    name = "pointwise"
    priority = 10

    def refuses(self, group: Group, target: Target) -> str | None:
        return pointwise_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [(("vectors", count),) for count in (1, 2)]
