"""The c backend: which groups become kernels, and the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optc.backends.c.addition import addition
from optc.backends.c.contraction import CONTRACTIONS, contraction, contraction_and_bias, contraction_and_sum
from optc.backends.c.families import family_of
from optc.backends.c.generic import generic
from optc.backends.c.kernel import CKernel
from optc.backends.c.lookup import lookup
from optc.backends.c.pattern import QUANTIZE, Body, NoMatch, Stage
from optc.backends.c.pooling import largest, mean
from optc.backends.c.trees import trees, trees_refusal
from optc.backends.interface import Kernel, Progress, Selection, silent
from optc.backends.tvm.acceptance import accepting_templates
from optc.backends.tvm.capability import supports
from optc.backends.tvm.group import Group
from optc.backends.tvm.workload import workload_key
from optc.costmodel.interface import SchedulePredictor
from optc.ir.core import Operation
from optc.ir.types import TensorType
from optc.ops.classical import TREES
from optc.targets.target import Target

Matcher = Callable[[Body, Stage], CKernel]

MATCHERS: dict[str, tuple[Matcher, ...]] = {
    **dict.fromkeys(CONTRACTIONS, (contraction,)),
    "onnx.Add": (contraction_and_bias, contraction_and_sum, addition),
    **dict.fromkeys(("onnx.AveragePool", "onnx.GlobalAveragePool", "onnx.ReduceMean"), (mean,)),
    "onnx.MaxPool": (largest,),
    TREES: (trees,),
}
"""By the operation behind a group's result: what makes a kernel of it on codes, the first that fits."""


def kernel_on_codes(group: Group, target: Target) -> CKernel | str:
    """The kernel of a group that computes on codes, or why it has none."""
    body = Body(group.body, family_of(target))
    reason = ""
    try:
        final = body.final()
        for match in MATCHERS.get(final.operation.name, ()):
            try:
                return match(body, final)
            except NoMatch as refusal:
                reason = reason or str(refusal)
    except NoMatch as refusal:
        reason = str(refusal)
    try:
        return lookup(body)
    except NoMatch as refusal:
        return reason or str(refusal)


class CBackend:
    """See KernelBackend; `source` replaces compiled kernels by C."""

    name = "c"
    emits = "source"
    schedules: SchedulePredictor | None = None

    def supports(self, operation: Operation, target: Target) -> str | None:
        """None where some kernel computes the operation, else the reason why none does."""
        for value in operation.results:
            if isinstance(value.type, TensorType) and value.dtype.name == "string":
                return f"'{value.name}' holds strings; label the classes with integers"
        return trees_refusal(operation) if operation.name == TREES else supports(operation)

    def refuses(self, group: Group, target: Target) -> str | None:
        """See KernelBackend.refuses."""
        made = kernel_on_codes(group, target)
        if isinstance(made, CKernel):
            return None
        if sum(operation.name == QUANTIZE for operation in group.body) > 1:
            return made
        found = accepting_templates(workload_key(group, target), group, target)
        return f"{made}; {found}" if isinstance(found, str) else None

    def kernels(
        self,
        groups: Sequence[Group],
        target: Target,
        *,
        budget: float,
        threads: int,
        progress: Progress = silent,
        remeasure: bool = False,
    ) -> list[Kernel | str]:
        """None: C source is compiled by the user."""
        return ["the c backend writes source" for _ in groups]

    def tune(
        self, groups: Sequence[Group], target: Target, *, budget: float, threads: int, progress: Progress = silent
    ) -> list[Selection | str]:
        """None: each kernel is written in one way."""
        return ["the c backend has no schedules to choose from" for _ in groups]

    def kernel(self, fused: Operation, group: Group, target: Target, symbol: str) -> CKernel:
        """The kernel of a fused operation that `refuses` accepts; `symbol` names what is written for it alone."""
        made = kernel_on_codes(group, target)
        return made if isinstance(made, CKernel) else generic(fused, group, target, symbol)
