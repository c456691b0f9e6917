"""Widen channel blocks to a whole vector where every value that must share the layout has the channels for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.types import Layout, TensorType
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.layout.rules import CHANNEL_AXIS, Port, rule_of

_BYTES = 4  # of an f32 element, by which vector lanes are counted


@dataclass(frozen=True)
class WidenBlocks(Pass):
    """Store blocked values in blocks of a whole vector where their channels divide.

    `layout` uses the target's `channel_block`, which suits most channel counts. Where all values that an operation ties
    to one layout have a multiple of the vector's lanes, wider blocks cost nothing and let element-wise chains and
    depthwise convolutions use whole registers.

    Attributes:
        block: channels a block; 0 takes the lanes of the target's vectors.
    """

    name: ClassVar[str] = "widen-blocks"
    block: int = 0

    def run(self, module: Module, context: PassContext) -> bool:
        wide = self.block or (context.target.vector_bytes // _BYTES if context.target else 0)
        groups = _tied_values(module.main)
        widened = 0
        for values in groups:
            if all(_divides(value, wide) for value in values) and all(_allows(op, wide) for op in _touching(values)):
                for value in values:
                    value.type = value.tensor_type.with_layout(Layout(blocks=((CHANNEL_AXIS, wide),)))
                widened += len(values)
        if widened:
            reason = f"{widened} values have a multiple of {wide} channels"
            context.remarks.append(Remark(self.name, "applied", "widen", reason))
        return widened > 0


def _block_of(value: Value) -> int | None:
    """The channel block of a value, or None when it is not blocked by channels alone."""
    if not isinstance(value.type, TensorType) or len(value.type.layout.blocks) != 1:
        return None
    ((axis, factor),) = value.type.layout.blocks
    return factor if axis == CHANNEL_AXIS else None


def _divides(value: Value, wide: int) -> bool:
    block = _block_of(value)
    return block is not None and wide > block and value.shape[CHANNEL_AXIS] % wide == 0


def _tied_values(graph: Graph) -> list[list[Value]]:
    """The blocked values of a graph, in groups that operations tie to one layout."""
    parent: dict[Value, Value] = {}

    def root(value: Value) -> Value:
        while parent[value] is not value:
            parent[value] = parent[parent[value]]
            value = parent[value]
        return value

    operations = [operation for operation in graph if operation.name != CONSTANT]
    for operation in operations:
        for value in operation.results:
            if _block_of(value) is not None:
                parent[value] = value
    for operation in operations:
        tied = [value for value in [*_following(operation), *operation.results] if value in parent]
        for value in tied[1:]:
            parent[root(value)] = root(tied[0])
    groups: dict[Value, list[Value]] = {}
    for value in parent:
        groups.setdefault(root(value), []).append(value)
    return list(groups.values())


def _following(operation: Operation) -> list[Value]:
    """The operands whose layout is that of the results."""
    block = next((b for b in map(_block_of, operation.results) if b is not None), None)
    if block is None:
        return []
    ports = rule_of(operation, block).ports
    return [
        value
        for value, port in zip(operation.operands, ports, strict=True)
        if value is not None and port is Port.FOLLOWS
    ]


def _touching(values: list[Value]) -> list[Operation]:
    """The operations that make or read some values and are tied to their layout."""
    members = set(values)
    found: dict[Operation, None] = {}
    for value in values:
        for operation in ([value.producer] if value.producer else []) + value.users:
            if any(result in members for result in operation.results):
                found[operation] = None
    return list(found)


def _allows(operation: Operation, wide: int) -> bool:
    """Whether the operation can work on wider blocks; a conversion of the layout always can."""
    return operation.name == "optc.relayout" or rule_of(operation, wide).refusal is None
