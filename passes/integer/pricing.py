"""What a layer is predicted to take as one kernel on codes, computing with integers or with floats."""

from __future__ import annotations

from dataclasses import dataclass

from optc.costmodel.interface import Candidate, CostModel
from optc.ir.clone import clone_operation
from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.ir.types import Layout, TensorType
from optc.ops.declaration import Kind, declaration_of
from optc.passes.integer.coding import DEQUANTIZE, QUANTIZE
from optc.passes.integer.contractions import IntegerForm, constant_reals
from optc.passes.rewrite import Builder
from optc.targets.target import Target

_LONGEST = 12  # operations behind a contraction
_FEATURE_MAP = 4  # axes
_WASTE = 0.35  # of stored channels, as where layouts are assigned


@dataclass(frozen=True)
class Prices:
    """Seconds of a layer with what stands around it, from the codes that it reads to those that it writes.

    Attributes:
        integer: with sums of products of codes.
        real: with codes turned into floats first, and back at the end.
    """

    integer: float
    real: float

    @property
    def seconds(self) -> dict[str, float]:
        """Both, for a remark."""
        return {"integer_seconds": self.integer, "float_seconds": self.real}

    @property
    def text(self) -> str:
        """Both, for people."""
        return f"{1e6 * self.integer:.1f} µs predicted in integers, {1e6 * self.real:.1f} µs in float"


def prices(form: IntegerForm, model: CostModel, target: Target) -> Prices | None:
    """What a contraction is predicted to take in both arithmetics; None where a shape is known only at run time."""
    group = _group(form.operation)
    values = [value for operation in group for value in (*operation.present_operands, *operation.results)]
    if not all(isinstance(value.type, TensorType) and value.type.is_static for value in values):
        return None
    candidates = []
    for integer in (True, False):
        graph, contraction = _copy(group, form.operation)
        if integer:
            assert contraction.operands[0] is not None and contraction.operands[0].producer is not None
            codes = contraction.operands[0].producer.operands[0]
            assert codes is not None
            builder = Builder(contraction)
            copy = IntegerForm(contraction, codes, form.zero, form.weight, form.factor, form.channel_axis)
            contraction.result.replace_by(copy.build(builder))
            graph.erase(contraction)
        for operation in reversed(graph):
            if not any(result.uses for result in operation.results):
                graph.erase(operation)
        _store(graph, target)
        candidates.append(Candidate.of_operations([each for each in graph if each.name != CONSTANT]))
    found = model.predict(candidates, target)
    return Prices(found[0].seconds, found[1].seconds)


def _group(contraction: Operation) -> list[Operation]:
    """The contraction with DequantizeLinear of its data, what is element-wise behind it, and QuantizeLinear."""
    data = contraction.operands[0]
    assert data is not None and data.producer is not None
    group = [data.producer, contraction]
    value = contraction.result
    while len(group) < _LONGEST and len(value.uses) == 1:
        (reader,) = value.users
        if declaration_of(reader.name).kind is not Kind.ELEMENTWISE or len(reader.results) != 1:
            break
        if reader.result.tensor_type.shape != value.tensor_type.shape:
            break
        others = [each.producer for each in reader.present_operands if each is not value]
        group += [each for each in others if each is not None and each.name == DEQUANTIZE and each not in group]
        group.append(reader)
        value = reader.result
        if reader.name == QUANTIZE:
            break
    return group


def _copy(group: list[Operation], contraction: Operation) -> tuple[Graph, Operation]:
    """The group in a graph of its own, constants as reals, and the contraction in it."""
    graph = Graph("layer")
    mapping: dict[Value, Value] = {}
    inside = {result for operation in group for result in operation.results}
    made = contraction
    for operation in group:
        for value in operation.present_operands:
            if value in inside or value in mapping:
                continue
            array = value.constant
            if array is None and value.producer is not None:
                array = constant_reals(value.producer)
            mapping[value] = (
                graph.add_input(value.name, value.type) if array is None else graph.constant(array, value.name)
            )
        copy = graph.append(clone_operation(operation, mapping))
        made = copy if operation is contraction else made
    graph.set_outputs([mapping[group[-1].result]])
    return graph, made


def _store(graph: Graph, target: Target) -> None:
    """Give feature maps the layout that kernels of the target prefer."""
    block = target.channel_block
    values = [*graph.inputs, *(result for each in graph if each.name != CONSTANT for result in each.results)]
    for value in values:
        type = value.tensor_type
        if block > 1 and type.rank == _FEATURE_MAP:
            channels = type.static_shape[1]
            if channels / (-(-channels // block) * block) >= 1 - _WASTE:
                value.type = type.with_layout(Layout(blocks=((1, block),)))
