"""Divide a module into kernels: every `optc.fused` operation that this pass makes becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate, CostModel
from optc.ir.core import CONSTANT, Graph, Module, Operation
from optc.ops.views import parts
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.fusion.boundaries import boundaries
from optc.passes.fusion.build import FUSED, fuse, fused_operation
from optc.passes.fusion.merge import merge
from optc.passes.fusion.orders import depth_first, long_branches_first, reorder
from optc.passes.fusion.rules import GroupRules
from optc.passes.fusion.search import Run, divide, sharing_seconds
from optc.targets.target import Target


@dataclass(frozen=True)
class Fuse(Pass):
    """Group operations into kernels so that the cost model's total is smallest.

    A group is at most one contraction, reduction or window with the element-wise and movement operations around it.
    The division is optimal, by dynamic programming, for an order of operations. The source order and two that keep
    chains together are tried, and runs that no order brought together are merged where that gains something.
    Operations without native code are left as they are, and so are those that only join, divide or rename storage
    where that is cheaper than a kernel.

    Attributes:
        max_operations: in one group.
        max_inputs: that one kernel reads.
    """

    name: ClassVar[str] = "fuse"
    max_operations: int = 32
    max_inputs: int = 12

    def run(self, module: Module, context: PassContext) -> bool:
        if context.target is None:
            return False
        return self._run_graph(module.main, context, context.target, context.cost_model or AnalyticalCostModel())

    def _run_graph(self, graph: Graph, context: PassContext, target: Target, model: CostModel) -> bool:
        changed = False
        for operation in graph:
            if operation.name == "onnx.If":
                for nested in operation.graphs.values():
                    changed = self._run_graph(nested, context, target, model) or changed
        operations = [operation for operation in graph if operation.name not in (CONSTANT, FUSED)]
        rules = GroupRules(context.supports, self.max_operations, self.max_inputs)
        runs = self._accepted_division(operations, rules, context, model, target)
        context.remarks += boundaries(runs, rules, model, target, self.name)
        if [op for run in runs for op in run.candidate.operations] != operations:
            reorder(graph, [op for run in runs for op in run.candidate.operations])
        for run in runs:
            if run.estimate is not None:
                self._remark(run, rules, context, target, model)
                fuse(run.candidate.operations)
                changed = True
            else:
                self._remark_left_alone(run.candidate.operations[0], rules, context)
        return changed

    def _accepted_division(
        self, operations: Sequence[Operation], rules: GroupRules, context: PassContext, model: CostModel, target: Target
    ) -> list[Run]:
        """The best division into groups that the backends accept: groups that one refuses are ruled out in turn."""
        asked: set[frozenset[Operation]] = set()
        while True:
            runs = self._best_division(operations, rules, model, target)
            refused = False
            for run in runs:
                group = frozenset(run.candidate.operations)
                if len(group) == 1 or group in asked:
                    continue
                asked.add(group)
                fused = fused_operation(run.candidate.operations)
                reason = context.accepts(fused)
                fused.drop_operands()
                if reason is not None:
                    refused = True
                    rules.forbidden[group] = reason
                    context.remarks.append(Remark(self.name, "missed", _rule_name(run), reason, fused.location))
            if not refused:
                return runs

    def _best_division(
        self, operations: Sequence[Operation], rules: GroupRules, model: CostModel, target: Target
    ) -> list[Run]:
        """The cheapest of the divisions of several orders; the source order wins ties."""
        sharing = sharing_seconds(operations, model, target)
        orders = [list(operations)]
        for arrange in (depth_first, long_branches_first):
            order = arrange(operations)
            if order not in orders:
                orders.append(order)
        divisions = [merge(divide(order, rules, model, target, sharing), rules, model, target) for order in orders]
        return min(divisions, key=lambda runs: sum(run.seconds for run in runs))

    def _remark(self, run: Run, rules: GroupRules, context: PassContext, target: Target, model: CostModel) -> None:
        operations = run.candidate.operations
        if len(operations) == 1:
            return
        apart = model.predict([Candidate.of_operations([each]) for each in operations if not parts(each)], target)
        unfused = sum(estimate.seconds for estimate in apart)
        location = operations[0].location
        for operation in operations[1:]:
            location = location + operation.location
        saved = f"{run.seconds * 1e6:.1f} µs instead of {unfused * 1e6:.1f} µs"
        reason = f"{len(operations)} operations in one kernel: {saved}"
        predicted = {"fused_seconds": run.seconds, "unfused_seconds": unfused}
        context.remarks.append(Remark(self.name, "applied", _rule_name(run), reason, location, predicted))

    def _remark_left_alone(self, operation: Operation, rules: GroupRules, context: PassContext) -> None:
        reason = rules.refusal_of(operation)
        if reason is not None and not parts(operation):
            context.remarks.append(Remark(self.name, "missed", "native", reason, operation.location))


def _rule_name(run: Run) -> str:
    return "fuse-" + "-".join(operation.name.split(".")[-1].lower() for operation in run.candidate.operations[:6])
