"""What operations would cost under layouts that they do not have yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optc.costmodel.interface import Candidate, CostModel
from optc.ir.core import Graph, Operation, Value
from optc.ir.types import Layout, TensorType, ValueType
from optc.ops.views import is_view, parts
from optc.passes.memory.plan import ALIGNMENT
from optc.passes.memory.storage import copy_seconds
from optc.targets.target import Target

RELAYOUT = "optc.relayout"


@dataclass(frozen=True)
class Question:
    """One operation, with the layouts that its operands and results would have.

    Attributes:
        operation: the operation as it stands.
        operand_layouts: by position; operands that are not named keep their types.
        result_layout: of every result.
    """

    operation: Operation
    operand_layouts: tuple[tuple[int, Layout], ...]
    result_layout: Layout


def price(questions: Sequence[Question], model: CostModel, target: Target) -> list[float]:
    """Seconds of each operation under the layouts asked about, in one batch.

    Operations that can share storage then cost no more than the copies of what would not be aligned there.
    """
    copies = [_copy(question) for question in questions]
    estimates = model.predict([_alone(copy) for copy in copies], target)
    unaligned = [[each.part for each in parts(copy) if each.offset % ALIGNMENT] for copy in copies]
    moves = iter(copy_seconds([value for values in unaligned for value in values], model, target))
    seconds = []
    for copy, estimate, values in zip(copies, estimates, unaligned, strict=True):
        moving = sum(next(moves) for _ in values)
        seconds.append(min(moving, estimate.seconds) if parts(copy) else estimate.seconds)
        copy.drop_operands()
    return seconds


def price_relayouts(values: Sequence[Value], layout: Layout, model: CostModel, target: Target) -> list[float]:
    """Seconds to convert each value to `layout`, in one batch; nothing where the bytes stay the same."""
    copies = []
    for value in values:
        graph = Graph("question")
        source = graph.add_input(value.name, value.tensor_type)
        copies.append(Operation(RELAYOUT, (source,), (value.tensor_type.with_layout(layout),)))
    estimates = model.predict([_alone(copy) for copy in copies], target)
    return [0.0 if is_view(copy) else each.seconds for copy, each in zip(copies, estimates, strict=True)]


def _alone(operation: Operation) -> Candidate:
    return Candidate((operation,), tuple(operation.present_operands), operation.results)


def _copy(question: Question) -> Operation:
    """A detached copy with the types asked about; it reads the real constants, whose elements may matter."""
    graph = Graph("question")
    layouts = dict(question.operand_layouts)
    operands: list[Value | None] = []
    for position, operand in enumerate(question.operation.operands):
        if operand is None or operand.is_constant:
            operands.append(operand)
        else:
            layout = layouts.get(position)
            operands.append(graph.add_input(operand.name, _typed(operand.type, layout)))
    types = [_typed(result.type, question.result_layout) for result in question.operation.results]
    return Operation(question.operation.name, operands, types, question.operation.attributes)


def _typed(type: ValueType, layout: Layout | None) -> ValueType:
    return type if layout is None or not isinstance(type, TensorType) else type.with_layout(layout)
