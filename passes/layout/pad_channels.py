"""Give feature maps a few unused channels where that lets them be joined block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.types import TensorType
from optc.ops.inference import make_operation
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.layout.assign import channels_a_block, predicted_seconds
from optc.passes.layout.channels import ChannelClasses, Spread, is_depthwise, is_mixing
from optc.passes.layout.rules import CHANNEL_AXIS, RANK


@dataclass(frozen=True)
class PadChannels(Pass):
    """Round the parts of channel Concats up to whole blocks, so that blocked parts lie in the whole without copies.

    Concat(36, 36) cuts a block of 8 channels, so neither can it share storage in blocks nor can what reads it be
    blocked without a conversion. With 40 + 40 channels it can: the convolutions before it get rows of zero weights,
    those behind it columns of zero weights, and what stands between treats every channel alike. It is done wherever
    the cost model says that the best layouts are then faster, extra arithmetic included.

    Attributes:
        block: channels a block; 0 takes the target's `channel_block`.
    """

    name: ClassVar[str] = "pad-channels"
    block: int = 0

    def run(self, module: Module, context: PassContext) -> bool:
        block = channels_a_block(self.block, context)
        if block <= 1:
            return False
        classes = ChannelClasses(module.main)
        spreads = classes.spreads(block)
        accepted: dict[Value, Spread] = {}
        for region in _regions(classes, spreads):
            chosen = {each: spreads[each] for each in region}
            operations = _touched(classes, chosen)
            before = predicted_seconds(_Padding(classes, {}).extracted(operations), block, context)
            after = predicted_seconds(_Padding(classes, chosen).extracted(operations), block, context)
            better = after < before
            if better:
                accepted.update(chosen)
            self._remark(operations, before, after, better, context)
        return spread_channels(classes, accepted)

    def _remark(
        self, operations: Sequence[Operation], before: float, after: float, better: bool, context: PassContext
    ) -> None:
        location = operations[0].location
        for operation in operations[1:]:
            location = location + operation.location
        reason = f"{after * 1e6:.1f} µs with padded channels, {before * 1e6:.1f} µs without"
        predicted = {"padded_seconds": after, "unpadded_seconds": before}
        remark = Remark(self.name, "applied" if better else "missed", "pad", reason, location, predicted)
        context.remarks.append(remark)


def spread_channels(classes: ChannelClasses, spreads: dict[Value, Spread]) -> bool:
    """Rewrite a graph so that the values of some classes have their channels at new positions.

    Args:
        classes: of the graph; not to be used afterwards.
        spreads: by class, some or all of those that `ChannelClasses.spreads` names together.

    Returns:
        whether anything changed.
    """
    _Padding(classes, spreads).replace(_touched(classes, spreads))
    return bool(spreads)


def _regions(classes: ChannelClasses, spreads: dict[Value, Spread]) -> list[list[Value]]:
    """The classes to spread, in groups that joins tie together."""
    group: dict[Value, list[Value]] = {each: [each] for each in spreads}
    for join in classes.joins:
        members = [each for each in map(classes.of, (*join.results, *join.present_operands)) if each in group]
        for other in members[1:]:
            first, second = group[members[0]], group[other]
            if first is not second:
                first += second
                for each in second:
                    group[each] = first
    return list({id(each): each for each in group.values()}.values())


def _touched(classes: ChannelClasses, spreads: dict[Value, Spread]) -> list[Operation]:
    """The operations that make or read a value that is spread, in order."""
    return [
        operation
        for operation in classes.graph
        if operation.name != CONSTANT
        and any(classes.of(value) in spreads for value in (*operation.present_operands, *operation.results))
    ]


@dataclass
class _Padding:
    """Rewrites operations for channels that are spread by class."""

    classes: ChannelClasses
    by_class: dict[Value, Spread]

    def spread(self, value: Value | None) -> Spread | None:
        return None if value is None else self.by_class.get(self.classes.of(value))

    def extracted(self, operations: Sequence[Operation]) -> Graph:
        """A graph of its own that holds the rewritten operations; what they read from elsewhere are its inputs."""
        graph = Graph("question")
        mapping: dict[Value, Value] = {}
        for operation in operations:
            for value in operation.present_operands:
                if value not in mapping:
                    array = value.constant
                    known = graph.add_input(value.name, value.type) if array is None else graph.constant(array)
                    mapping[value] = known
            graph.append(self._rewritten(operation, mapping, graph))
        return graph

    def replace(self, operations: Sequence[Operation]) -> None:
        """Put the rewritten operations in place of the originals."""
        graph = self.classes.graph
        mapping: dict[Value, Value] = {}
        for operation in operations:
            graph.insert(self._rewritten(operation, mapping, graph), operation)
        for operation in reversed(operations):
            for result in operation.results:
                result.replace_by(mapping[result])
            weights = [value.producer for value in operation.present_operands if value.is_constant]
            graph.erase(operation)
            for constant in dict.fromkeys(weights):
                if constant is not None and not constant.results[0].uses:
                    graph.erase(constant)

    def _rewritten(self, operation: Operation, mapping: dict[Value, Value], graph: Graph) -> Operation:
        """A new operation on the mapped operands, its constants spread; its results are added to the mapping."""
        operands = [value if value is None else mapping.get(value, value) for value in operation.operands]
        attributes = dict(operation.attributes)
        result = self.spread(operation.results[0])
        if is_mixing(operation):
            self._spread_weights(operation, operands, graph)
        elif result is not None:
            if is_depthwise(operation):
                attributes["group"] = result.extent
                operands[1:] = [
                    value and self._constant(graph, value, 0, result, old)
                    for value, old in zip(operands[1:], operation.operands[1:], strict=True)
                ]
            else:
                channels = operation.results[0].shape[CHANNEL_AXIS]
                operands = [
                    self._broadcast(graph, value, old, result, channels)
                    for value, old in zip(operands, operation.operands, strict=True)
                ]
        names = [each.name for each in operation.results]
        made = make_operation(operation.name, operands, attributes, result_names=names, location=operation.location)
        mapping.update(zip(operation.results, made.results, strict=True))
        return made

    def _spread_weights(self, operation: Operation, operands: list[Value | None], graph: Graph) -> None:
        """Columns of zeros for input channels, rows and biases of zero for output channels."""
        source, result = self.spread(operation.operands[0]), self.spread(operation.results[0])
        weights = operation.operands[1]
        assert weights is not None and weights.constant is not None
        array = weights.constant
        if source is not None:
            array = _spread_array(array, 1, source)
        if result is not None:
            array = _spread_array(array, 0, result)
        if array is not weights.constant:
            operands[1] = graph.constant(array, weights.name)
        if len(operands) > 2 and operands[2] is not None and result is not None:
            operands[2] = self._constant(graph, operands[2], 0, result, operation.operands[2])

    def _broadcast(
        self, graph: Graph, value: Value | None, old: Value | None, spread: Spread, channels: int
    ) -> Value | None:
        """A constant operand of an element-wise operation; others stay as they are."""
        if value is None or old is None or not old.is_constant or not isinstance(old.type, TensorType):
            return value
        axis = CHANNEL_AXIS - RANK + len(old.shape)
        if axis < 0 or old.shape[axis] != channels or channels == 1:
            return value
        return self._constant(graph, value, axis, spread, old)

    def _constant(self, graph: Graph, value: Value, axis: int, spread: Spread, old: Value | None) -> Value:
        assert old is not None and old.constant is not None
        return graph.constant(_spread_array(old.constant, axis, spread), value.name)


def _spread_array(array: np.ndarray, axis: int, spread: Spread) -> np.ndarray:
    """Entries along an axis at the positions of channels, zeros between."""
    shape = (*array.shape[:axis], spread.extent, *array.shape[axis + 1 :])
    result = np.zeros(shape, array.dtype)
    result[(slice(None),) * axis + (list(spread.positions),)] = array
    return result
