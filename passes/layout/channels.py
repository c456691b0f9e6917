"""Which values must keep their channels at the same positions, and how channels can be spread over more of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.ir.types import TensorType
from optc.ops.declaration import Kind, declaration_of
from optc.passes.layout.rules import CHANNEL_AXIS, KEEPS_LANES_FINITE, RANK, Port, rule_of

# Beside element-wise operations and depthwise convolutions, these treat every channel alike.
_CHANNEL_WISE = frozenset(
    "onnx." + name
    for name in (
        "MaxPool AveragePool GlobalAveragePool GlobalMaxPool ReduceMean ReduceMax ReduceMin ReduceSum Resize Pad"
    ).split()
)


@dataclass(frozen=True)
class Spread:
    """Where the channels of a value lie among more channels; the others hold nothing that matters.

    Attributes:
        extent: channels in all.
        positions: of the original channels, in their order.
    """

    extent: int
    positions: tuple[int, ...]

    @staticmethod
    def rounded(channels: int, block: int) -> Spread:
        """All padding at the end, up to a multiple of `block`."""
        return Spread(-(-channels // block) * block, tuple(range(channels)))

    @staticmethod
    def joined(spreads: Sequence[Spread]) -> Spread:
        """One behind the other."""
        extent = 0
        positions: list[int] = []
        for spread in spreads:
            positions += [extent + position for position in spread.positions]
            extent += spread.extent
        return Spread(extent, tuple(positions))

    @property
    def is_identity(self) -> bool:
        return self.extent == len(self.positions)


def is_channel_join(operation: Operation) -> bool:
    """Whether it concatenates the channels of feature maps."""
    if operation.name != "onnx.Concat" or not _is_feature_map(operation.results[0]):
        return False
    return int(operation.attributes["axis"]) % RANK == CHANNEL_AXIS  # type: ignore[arg-type]


def is_mixing(operation: Operation) -> bool:
    """Whether it is a convolution whose constant weights can take and give channels at any positions."""
    if operation.name != "onnx.Conv" or operation.attributes.get("group", 1) != 1:
        return False
    return all(value.is_constant for value in operation.present_operands[1:])


def is_depthwise(operation: Operation) -> bool:
    """Whether it is a convolution with constant weights that gives each channel its own filter."""
    if operation.name != "onnx.Conv" or not all(value.is_constant for value in operation.present_operands[1:]):
        return False
    channels = operation.results[0].shape[CHANNEL_AXIS]
    return operation.attributes.get("group", 1) == operation.present_operands[0].shape[CHANNEL_AXIS] == channels


def _is_feature_map(value: Value) -> bool:
    type = value.type
    return isinstance(type, TensorType) and type.is_static and type.rank == RANK and type.dtype.is_float


@dataclass
class ChannelClasses:
    """The feature maps of a graph in classes whose channels can only move together."""

    graph: Graph
    _parent: dict[Value, Value] = field(default_factory=dict)
    _pinned: set[Value] = field(default_factory=set)
    joins: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        for value in (*self.graph.inputs, *self.graph.outputs):
            self.pin(value)
        for operation in self.graph:
            if operation.name == CONSTANT:
                self.pin(operation.results[0])
            elif is_channel_join(operation):
                self.joins.append(operation)
            elif not (is_mixing(operation) and _is_feature_map(operation.results[0])):
                self._tie(operation)
            for result in operation.results:
                if any(user.graph is not self.graph for user in result.users):
                    self.pin(result)

    def _tie(self, operation: Operation) -> None:
        tied = _tied(operation)
        if tied is None:
            for value in (*operation.present_operands, *operation.results):
                self.pin(value)
            return
        for other in tied[1:]:
            first, second = self.of(tied[0]), self.of(other)
            if first is not second:
                self._parent[second] = first
                if second in self._pinned:
                    self._pinned.add(first)

    def of(self, value: Value) -> Value:
        """The value that stands for the class of another."""
        while (parent := self._parent.get(value)) is not None:
            value = parent
        return value

    def pin(self, value: Value) -> None:
        """Let a value, and so its class, keep its channels as they are."""
        self._pinned.add(self.of(value))

    def is_pinned(self, value: Value) -> bool:
        return self.of(value) in self._pinned

    def spreads(self, block: int) -> dict[Value, Spread]:
        """By class, positions at which no part of a join cuts a block; classes that stay as they are are left out."""
        while (found := self._try_spreads(block)) is None:
            pass
        return {value: spread for value, spread in found.items() if not spread.is_identity}

    def _try_spreads(self, block: int) -> dict[Value, Spread] | None:
        """As `spreads`; None after pinning what would contradict itself."""
        found: dict[Value, Spread] = {}
        made = {self.of(join.results[0]) for join in self.joins}
        for join in self.joins:
            if self.is_pinned(join.results[0]):
                continue
            for value in join.present_operands:
                if self.of(value) not in made and not self.is_pinned(value):
                    found[self.of(value)] = Spread.rounded(value.shape[CHANNEL_AXIS], block)
        for join in self.joins:
            found.setdefault(self.of(join.results[0]), self._joined(join, found))
        for join in self.joins:
            result, spread = join.results[0], self._joined(join, found)
            if found[self.of(result)] != spread or (self.is_pinned(result) and not spread.is_identity):
                known = len(self._pinned)
                for value in (result, *join.present_operands):
                    self.pin(value)
                assert len(self._pinned) > known
                return None
        return found

    def _joined(self, join: Operation, found: dict[Value, Spread]) -> Spread:
        identity = (Spread.rounded(value.shape[CHANNEL_AXIS], 1) for value in join.present_operands)
        classes = map(self.of, join.present_operands)
        return Spread.joined([found.get(each, same) for each, same in zip(classes, identity, strict=True)])


def _tied(operation: Operation) -> list[Value] | None:
    """The values of an operation whose channels must lie at the same positions; None where none of them may move."""
    first, result = operation.operands[0] if operation.operands else None, operation.results[0]
    if first is None or len(operation.results) > 1 or operation.name not in KEEPS_LANES_FINITE | _CHANNEL_WISE:
        return None
    if not all(isinstance(v.type, TensorType) and v.type.is_static for v in operation.present_operands):
        return None
    if not _is_feature_map(result):
        return None
    if declaration_of(operation.name).kind is Kind.ELEMENTWISE:
        return _tied_elements(operation, result)
    if operation.name == "onnx.Resize" and operation.operand(3) is not None:
        return None
    if not is_depthwise(operation):
        if operation.name not in _CHANNEL_WISE or not _is_feature_map(first):
            return None
        rule = rule_of(operation, 1)
        if rule.refusal is not None or rule.ports[0] is not Port.FOLLOWS:
            return None
        if any(not value.is_constant for value in operation.present_operands[1:]):
            return None
    return [first, result]


def _tied_elements(operation: Operation, result: Value) -> list[Value] | None:
    channels = result.shape[CHANNEL_AXIS]
    tied = [result]
    for value in operation.present_operands:
        if value.is_constant or value.tensor_type.elements == 1:
            continue
        if not _is_feature_map(value):
            return None
        if value.shape[CHANNEL_AXIS] == channels:
            tied.append(value)
        elif value.shape[CHANNEL_AXIS] != 1:
            return None
    return tied
