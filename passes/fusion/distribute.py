"""Let element-wise operations work on the parts of a Concat, where the kernels that make the parts can take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.costmodel.analytical import AnalyticalCostModel
from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.types import TensorType
from optc.ops.declaration import Kind, declaration_of
from optc.ops.inference import make_operation
from optc.ops.shapes import normalize_axis
from optc.ops.views import parts
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.fusion.merge import merge
from optc.passes.fusion.rules import GroupRules
from optc.passes.fusion.search import divide, sharing_seconds
from optc.passes.memory.plan import ALIGNMENT


@dataclass(frozen=True)
class Distribute(Pass):
    """Rewrite `f(Concat(a, b), c)` to `Concat(f(a, c1), f(b, c2))` where that is predicted to be faster.

    The parts of `c` are views of it, and the results are made where the Concat wants them, so that nothing is moved
    and `f` can become an epilogue of the kernels that make `a` and `b`. The two forms are compared with the cost
    model, each divided into kernels in the best way.
    """

    name: ClassVar[str] = "distribute"

    def run(self, module: Module, context: PassContext) -> bool:
        if context.target is None:
            return False
        changed = False
        for operation in module.main:
            join = _joined_operand(operation)
            if join is None:
                continue
            producers = _producers(module.main, [*join.present_operands, *operation.present_operands], join)
            before = self._seconds([*producers, join, operation], context)
            made = _distributed(module.main, operation, join)
            if not made:
                continue
            taken = _take_out([operation, join], made[-1].results[0])
            after = self._seconds([*producers, *(each for each in made if each.name != CONSTANT)], context)
            better = after < before
            if better:
                _erase_unread_joins(taken[0][1])
            else:
                _put_back(taken, made)
            changed = changed or better
            reason = f"{operation.name} on the parts of a Concat: {after * 1e6:.1f} µs instead of {before * 1e6:.1f} µs"
            predicted = {"distributed_seconds": after, "joined_seconds": before}
            remark = Remark(
                self.name, "applied" if better else "missed", "concat", reason, operation.location, predicted
            )
            context.remarks.append(remark)
        return changed

    def _seconds(self, operations: Sequence[Operation], context: PassContext) -> float:
        assert context.target is not None
        model = context.cost_model or AnalyticalCostModel()
        rules = GroupRules(context.supports)
        sharing = sharing_seconds(operations, model, context.target)
        runs = divide(operations, rules, model, context.target, sharing)
        return sum(run.seconds for run in merge(runs, rules, model, context.target))


def _joined_operand(operation: Operation) -> Operation | None:
    """The Concat that only this element-wise operation reads and whose parts could share its storage."""
    if operation.name == CONSTANT or declaration_of(operation.name).kind is not Kind.ELEMENTWISE:
        return None
    for value in operation.present_operands:
        join = value.producer
        if join is None or join.name != "onnx.Concat" or value.users != [operation]:
            continue
        if len(operation.results) == 1 and operation.results[0].type == value.type and parts(join):
            return join
    return None


def _producers(graph: Graph, values: Sequence[Value], join: Operation) -> list[Operation]:
    """What makes some values, in order, without a Concat that is looked at apart."""
    makers = {value.producer for value in values} - {join}
    return [each for each in graph if each in makers and each.name != CONSTANT]


def _distributed(graph: Graph, operation: Operation, join: Operation) -> list[Operation]:
    """The other form, in the graph in front of the operation, its Concat last; empty where there is none."""
    axis = normalize_axis(int(join.attributes["axis"]), len(join.results[0].shape))  # type: ignore[arg-type]
    made: list[Operation] = []

    def insert(kind: str, operands: Sequence[Value | None], type: TensorType, source: Operation) -> Value:
        names = [f"{source.results[0].name}.{len(made)}"]
        new = make_operation(kind, operands, source.attributes, result_names=names, location=source.location)
        new.results[0].type = type
        made.append(graph.insert(new, operation))
        return new.results[0]

    def constant(array: np.ndarray, name: str) -> Value:
        value = graph.constant(array, name, before=operation)
        assert value.producer is not None
        made.append(value.producer)
        return value

    def part_of(value: Value, begin: int, part: TensorType) -> Value | None:
        """The elements of another operand that meet a part of the Concat; None where they are no view of it."""
        rank = len(part.static_shape)
        own = axis - rank + len(value.shape)
        if own < 0 or value.shape[own] == 1:
            return value
        end = begin + part.static_shape[axis]
        if value.constant is not None:
            return constant(np.take(value.constant, range(begin, end), own), value.name)
        if value.type != join.results[0].type:
            return None
        if value.producer is not None and value.producer.name == "onnx.Concat":
            starts = np.cumsum([0, *(each.shape[own] for each in value.producer.present_operands)])
            for each, start in zip(value.producer.present_operands, starts[:-1], strict=True):
                if start == begin and each.type == part and value.producer.attributes == join.attributes:
                    return each
        bounds = [constant(np.array([bound], np.int64), "bound") for bound in (begin, end, axis)]
        new = make_operation("onnx.Slice", [value, *bounds], result_names=[value.name], location=operation.location)
        new.results[0].type = part
        made.append(graph.insert(new, operation))
        aligned = [each for each in parts(new) if each.offset % ALIGNMENT == 0]
        return new.results[0] if aligned else None

    begin = 0
    results: list[Value] = []
    for part in join.present_operands:
        operands: list[Value | None] = []
        for value in operation.operands:
            mine = part if value is join.results[0] or value is None else part_of(value, begin, part.tensor_type)
            if mine is None and value is not None:
                for each in reversed(made):
                    graph.erase(each)
                return []
            operands.append(mine if value is not None else None)
        results.append(insert(operation.name, operands, part.tensor_type, operation))
        begin += part.shape[axis]
    insert(join.name, results, operation.results[0].tensor_type, join)
    return made


Taken = list[tuple[Operation, tuple[Value | None, ...], Operation | None]]


def _take_out(operations: Sequence[Operation], instead: Value) -> Taken:
    """Remove an operation, whose readers read `instead`, and what only it read; enough is kept to put them back."""
    operations[0].results[0].replace_by(instead)
    taken = []
    for operation in operations:
        assert operation.graph is not None
        taken.append((operation, operation.operands, operation.next))
        operation.graph.unlink(operation)
        operation.drop_operands()
    return taken


def _erase_unread_joins(operands: Sequence[Value | None]) -> None:
    """Remove the other Concats whose parts are now read instead of them."""
    for value in operands:
        join = value.producer if value is not None else None
        if join is not None and join.name == "onnx.Concat" and join.graph is not None and not join.results[0].uses:
            join.graph.erase(join)


def _put_back(taken: Taken, made: Sequence[Operation]) -> None:
    """Undo `_take_out`, and remove the operations that were made instead."""
    graph = made[-1].graph
    assert graph is not None
    for operation, operands, following in reversed(taken):
        graph.insert(operation, following)
        operation.set_operands(operands)
    made[-1].results[0].replace_by(taken[0][0].results[0])
    for each in reversed(made):
        graph.erase(each)
