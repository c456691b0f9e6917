"""Which channels of a graph can only go together.

Every channel of every layer's result has a number. Walking the graph says where each comes to lie and which must be
one: those that an Add joins, those of a depthwise convolution and of what it reads, those at the same place in each
group of a grouped convolution. Numbers that are one form a unit; units of one layer form a family, of which any may go
but all. Where an operation needs to know how many channels there are, or the graph returns them, its units stay. Fang
et al., "DepGraph: Towards Any Structural Pruning" (2023), section 3.2, with channels in place of layers as what is
grouped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.ops.restriction import RESTRICT

ELEMENTWISE = frozenset(
    f"onnx.{name}"
    for name in (
        "Abs Add Ceil Celu Clip Div Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Log Max Min Mish "
        "Mul Neg PRelu Pow Reciprocal Relu Selu Sigmoid Sin Softplus Softsign Sqrt Sub Sum Tanh ThresholdedRelu"
    ).split()
) | {RESTRICT}
"""Operations whose result at a place rests on what lies at that place alone."""

POOLS = frozenset({"onnx.MaxPool", "onnx.AveragePool", "onnx.GlobalAveragePool", "onnx.GlobalMaxPool", "onnx.LpPool"})
"""Operations on each channel by itself."""

REDUCTIONS = frozenset(
    {"onnx.ReduceMean", "onnx.ReduceSum", "onnx.ReduceMax", "onnx.ReduceMin", "onnx.ReduceL2", "onnx.ReduceSumSquare"}
)
"""Operations over axes that they name."""


@dataclass(frozen=True)
class Slice:
    """A constant operand that gets shorter with its channels.

    Attributes:
        operation: that reads it.
        position: of the operand.
        axis: along which channels lie.
        ids: of the channels, in order.
        reads: whether the operation sums over them, as weights do over the channels of the data.
    """

    operation: Operation
    position: int
    axis: int
    ids: np.ndarray
    reads: bool = False


@dataclass(frozen=True)
class Family:
    """The units of layers whose results are joined.

    Attributes:
        name: of the layers that give them; unique in the graph.
        units: that may go, by their smallest number.
        total: units in all.
    """

    name: str
    units: tuple[int, ...]
    total: int


Placed = tuple[int, np.ndarray]
"""The axis of a value's channels, and their numbers."""


@dataclass
class Channels:
    """What the walk found.

    Attributes:
        placed: where the channels of values lie.
        slices: constants to shorten.
        divisions: convolutions with a group for each of some channels.
        extents: reshapes whose target names, at an entry, how many elements some channels have.
        families: what can be removed.
    """

    placed: dict[Value, Placed] = field(default_factory=dict)
    slices: list[Slice] = field(default_factory=list)
    divisions: list[tuple[Operation, np.ndarray]] = field(default_factory=list)
    extents: list[tuple[Operation, int, np.ndarray]] = field(default_factory=list)
    families: list[Family] = field(default_factory=list)
    _units: list[int] = field(default_factory=list)
    _kin: list[int] = field(default_factory=list)
    _fixed: set[int] = field(default_factory=set)
    _givers: list[tuple[str, np.ndarray]] = field(default_factory=list)

    def unit(self, number: int) -> int:
        """The unit of a channel."""
        return _root(self._units, number)

    def units(self, ids: np.ndarray) -> np.ndarray:
        """The unit of each channel."""
        return np.array([self.unit(int(number)) for number in ids], np.int64)

    def new(self, count: int, name: str = "") -> np.ndarray:
        """Numbers for the channels of a layer's result."""
        start = len(self._units)
        ids = np.arange(start, start + count)
        self._units.extend(range(start, start + count))
        self._kin.extend([start] * count)
        if name:
            self._givers.append((name, ids))
        return ids

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Let the channels at the same places go together only."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            _unite(self._units, a, b)
            _unite(self._kin, a, b)

    def fix(self, value: Value | None) -> None:
        """Let a value's channels stay."""
        if value is not None and value in self.placed:
            self._fixed.update(self.placed[value][1].tolist())

    def cut(self, operation: Operation, position: int, axis: int, ids: np.ndarray, *, reads: bool = False) -> None:
        """Note a constant to shorten, where there is one."""
        if operation.operand(position) is not None:
            self.slices.append(Slice(operation, position, axis, ids, reads))

    def close(self) -> None:
        """Work out the families."""
        fixed = {self.unit(number) for number in self._fixed}
        members: dict[int, set[int]] = {}
        names: dict[int, list[str]] = {}
        for name, ids in self._givers:
            kin = _root(self._kin, int(ids[0]))
            members.setdefault(kin, set()).update(self.units(ids).tolist())
            names.setdefault(kin, []).append(name)
        taken: set[str] = set()
        for kin, units in members.items():
            free = tuple(sorted(units - fixed))
            name = " + ".join(names[kin])
            if free and len(units) > 1:
                name = f"{name}:{kin}" if name in taken else name
                taken.add(name)
                self.families.append(Family(name, free, len(units)))


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


def _unite(parents: list[int], first: int, second: int) -> None:
    a, b = _root(parents, first), _root(parents, second)
    parents[max(a, b)] = min(a, b)


def channels_of(graph: Graph) -> Channels:
    """The channels of a graph; two copies of a graph get the same numbers."""
    found = Channels()
    for operation in graph:
        if operation.name == CONSTANT:
            continue
        handle = _HANDLERS.get(operation.name)
        plain = len(operation.results) == 1 and not operation.graphs
        placed = handle(found, operation) if handle is not None and plain else None
        if placed is None:
            for value in operation.operands:
                found.fix(value)
        else:
            found.placed[operation.result] = placed
    for value in found.placed:
        if any(user.graph is not graph or user is graph.terminator for user in value.users):
            found.fix(value)
    found.close()
    return found


def _name(operation: Operation) -> str:
    return operation.location.nodes[-1] if operation.location.nodes else operation.result.name


def _constant(operation: Operation, position: int) -> np.ndarray | None:
    value = operation.operand(position)
    return None if value is None else value.constant


def _conv(found: Channels, operation: Operation) -> Placed | None:
    data, weight = operation.operand(0), _constant(operation, 1)
    if data is None or weight is None or (operation.operand(2) is not None and _constant(operation, 2) is None):
        return None
    groups = int(operation.attributes.get("group", 1))  # type: ignore[arg-type]
    placed = found.placed.get(data)
    if placed is not None and placed[0] != 1:
        return None
    ids = None if placed is None else placed[1]
    if groups > 1 and weight.shape[1] == 1:
        if ids is None:
            return None
        made = np.repeat(ids, len(weight) // groups)
        found.divisions.append((operation, ids))
    else:
        made = found.new(len(weight), _name(operation))
        if groups > 1:
            _join_groups(found, made, groups)
        if ids is not None:
            if groups > 1:
                _join_groups(found, ids, groups)
            found.cut(operation, 1, 1, ids[: weight.shape[1]], reads=True)
    found.cut(operation, 1, 0, made)
    found.cut(operation, 2, 0, made)
    return 1, made


def _join_groups(found: Channels, ids: np.ndarray, groups: int) -> None:
    """Let each group lose the same places, so that all stay alike."""
    parts = ids.reshape(groups, -1)
    for part in parts[1:]:
        found.join(parts[0], part)


def _product(found: Channels, operation: Operation) -> Placed | None:
    data, weight = operation.operand(0), _constant(operation, 1)
    if data is None or weight is None or weight.ndim != 2 or operation.attributes.get("transA", 0):
        return None
    rank = data.tensor_type.rank
    if rank is None or rank < 2:
        return None
    inner, outer = (1, 0) if operation.attributes.get("transB", 0) else (0, 1)
    if (placed := found.placed.get(data)) is not None:
        if placed[0] != rank - 1:
            return None
        found.cut(operation, 1, inner, placed[1], reads=True)
    made = found.new(weight.shape[outer], _name(operation))
    found.cut(operation, 1, outer, made)
    if operation.operand(2) is not None:
        bias = _constant(operation, 2)
        if bias is None:
            found._fixed.update(made.tolist())
        elif bias.ndim and bias.shape[-1] == len(made):
            found.cut(operation, 2, bias.ndim - 1, made)
    return rank - 1, made


def _normalized(found: Channels, operation: Operation) -> Placed | None:
    placed = found.placed.get(operation.operands[0]) if operation.operands[0] is not None else None
    if placed is None or placed[0] != 1 or any(_constant(operation, place) is None for place in range(1, 5)):
        return None
    for position in range(1, 5):
        found.cut(operation, position, 0, placed[1])
    return placed


def _elementwise(found: Channels, operation: Operation) -> Placed | None:
    """Channels counted from the last axis, as broadcasting does."""
    rank = operation.result.tensor_type.rank
    parts: list[tuple[int, np.ndarray]] = []
    for read in operation.present_operands:
        own = read.tensor_type.rank
        if own is None or rank is None:
            return None
        if read in found.placed:
            axis, ids = found.placed[read]
            parts.append((own - axis, ids))
    widest = max(parts, key=lambda part: len(part[1]), default=None)
    if rank is None or widest is None:
        return None
    place, ids = widest
    cuts = []
    for position, value in enumerate(operation.operands):
        if value is None:
            continue
        shape = value.tensor_type.shape or ()
        extent = shape[len(shape) - place] if len(shape) >= place else 1
        if value in found.placed:
            own, others = found.placed[value]
            if len(shape) - own != place or len(others) != len(ids):
                return None
        elif extent == len(ids) and value.is_constant and len(ids) > 1:
            cuts.append((position, len(shape) - place))
        elif extent != 1:
            return None
    for _, others in parts:
        found.join(ids, others)
    for position, axis in cuts:
        found.cut(operation, position, axis, ids)
    return rank - place, ids


def _pooled(found: Channels, operation: Operation) -> Placed | None:
    data = operation.operand(0)
    placed = None if data is None else found.placed.get(data)
    return placed if placed is not None and placed[0] == 1 else None


def _reduced(found: Channels, operation: Operation) -> Placed | None:
    data = operation.operand(0)
    if data is None or data not in found.placed or (rank := data.tensor_type.rank) is None:
        return None
    named = operation.attributes.get("axes")
    array = _constant(operation, 1) if named is None else np.asarray(named)
    if array is None:
        return None
    axes = {int(axis) % rank for axis in array.reshape(-1)}
    axis, ids = found.placed[data]
    if axis in axes or not axes:
        return None
    kept = int(operation.attributes.get("keepdims", 1))  # type: ignore[arg-type]
    return (axis if kept else axis - sum(each < axis for each in axes)), ids


def _squeezed(found: Channels, operation: Operation) -> Placed | None:
    data, array = operation.operand(0), _constant(operation, 1)
    if data is None or data not in found.placed or array is None or (rank := data.tensor_type.rank) is None:
        return None
    axes = {int(axis) % rank for axis in array.reshape(-1)}
    axis, ids = found.placed[data]
    return None if axis in axes else (axis - sum(each < axis for each in axes), ids)


def _joined(found: Channels, operation: Operation) -> Placed | None:
    values = operation.present_operands
    known = [found.placed[value] for value in values if value in found.placed]
    rank = operation.result.tensor_type.rank
    if not known or rank is None or len({axis for axis, _ in known}) > 1:
        return None
    place = known[0][0]
    if int(operation.attributes["axis"]) % rank != place:  # type: ignore[arg-type]
        if len(known) < len(values):
            return None
        for _, ids in known[1:]:
            found.join(known[0][1], ids)
        return known[0]
    parts = []
    for value in values:
        extent = (value.tensor_type.shape or ())[place]
        if value in found.placed:
            parts.append(found.placed[value][1])
        elif isinstance(extent, int):
            parts.append(found.new(extent))
            found._fixed.update(parts[-1].tolist())
        else:
            return None
    return place, np.concatenate(parts)


def _flattened(found: Channels, operation: Operation) -> Placed | None:
    """[N, C, …] as [N, C·…], or with C as it was."""
    data = operation.operand(0)
    if data is None or data not in found.placed or found.placed[data][0] != 1:
        return None
    ids = found.placed[data][1]
    before, after = data.tensor_type.shape, operation.result.tensor_type.shape
    if before is None or after is None or len(after) < 2 or before[0] != after[0]:
        return None
    if after[1] == len(ids) and operation.name == "onnx.Reshape":
        made = ids
    else:
        inside = before[2:]
        if len(after) != 2 or not all(isinstance(extent, int) for extent in inside):
            return None
        made = np.repeat(ids, int(np.prod(inside)))  # type: ignore[arg-type]
    if operation.name == "onnx.Flatten":
        return (1, made) if operation.attributes.get("axis", 1) == 1 else None
    if (target := _constant(operation, 1)) is None:
        return None
    if int(target[1]) > 0:
        found.extents.append((operation, 1, made))
    return 1, made


def _transposed(found: Channels, operation: Operation) -> Placed | None:
    data, order = operation.operand(0), operation.attributes.get("perm")
    if data is None or data not in found.placed or not isinstance(order, tuple):
        return None
    axis, ids = found.placed[data]
    return order.index(axis), ids


def _padded(found: Channels, operation: Operation) -> Placed | None:
    data, pads = operation.operand(0), _constant(operation, 1)
    if data is None or data not in found.placed or pads is None or operation.operand(3) is not None:
        return None
    axis, ids = found.placed[data]
    rank = len(pads) // 2
    return None if pads[axis] or pads[axis + rank] else (axis, ids)


Handler = Callable[[Channels, Operation], Placed | None]


def _all(names: Sequence[str] | frozenset[str], handler: Handler) -> dict[str, Handler]:
    return dict.fromkeys(names, handler)


_HANDLERS: dict[str, Handler] = {
    "onnx.Conv": _conv,
    "onnx.Gemm": _product,
    "onnx.MatMul": _product,
    "onnx.BatchNormalization": _normalized,
    "onnx.Concat": _joined,
    "onnx.Reshape": _flattened,
    "onnx.Flatten": _flattened,
    "onnx.Transpose": _transposed,
    "onnx.Squeeze": _squeezed,
    "onnx.Pad": _padded,
    **_all(ELEMENTWISE, _elementwise),
    **_all(POOLS, _pooled),
    **_all(REDUCTIONS, _reduced),
}
"""By operation: where the channels of its result lie; None where those of its operands must stay."""
