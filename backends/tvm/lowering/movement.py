"""Operations that move elements: each result element is one operand element at indices worked out from its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.backends.tvm.lowering.binding import choose
from optc.backends.tvm.lowering.context import LoweringContext, Operands, immediate, lowers
from optc.backends.tvm.lowering.elementwise import broadcast
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

Index = Any  # an int or an integer PrimExpr
Move = Callable[[tuple[Index, ...]], Sequence[Index]]


def parameter(operation: Operation, position: int) -> np.ndarray | None:
    """A constant operand's array; None when it is absent."""
    operand = operation.operand(position)
    if operand is None:
        return None
    assert operand.constant is not None, f"operand {position} of {operation.name} is not constant"
    return operand.constant


def integers(operation: Operation, position: int, attribute: str) -> list[int] | None:
    """A list of ints that is an operand in newer opsets and an attribute in older ones; None when absent."""
    array = parameter(operation, position)
    if array is not None:
        return [int(item) for item in array.reshape(-1)]
    value = operation.attributes.get(attribute)
    return None if value is None else [int(item) for item in value]  # type: ignore[union-attr, arg-type]


def moved(operation: Operation, source: LogicalTensor | None, move: Move) -> list[LogicalTensor]:
    """The first result, whose element at indices is the source's at `move(indices)`."""
    assert source is not None
    result = operation.results[0]
    return [LogicalTensor(result.shape, source.dtype, lambda *indices: source(*move(indices)))]


def reshape_runs(source: Sequence[int], target: Sequence[int]) -> Iterator[tuple[range, range]]:
    """The shortest runs of axes on either side that hold equally many elements, in order."""
    i = j = 0
    while i < len(source) or j < len(target):
        i_end, j_end = min(i + 1, len(source)), min(j + 1, len(target))
        left = source[i] if i < i_end else 1
        right = target[j] if j < j_end else 1
        while left != right:
            if left < right:
                left, i_end = left * source[i_end], i_end + 1
            else:
                right, j_end = right * target[j_end], j_end + 1
        yield range(i, i_end), range(j, j_end)
        i, j = i_end, j_end


def reshaped(source: LogicalTensor, shape: Sequence[int]) -> LogicalTensor:
    """The same elements in row-major order under another shape."""
    if 0 in shape:
        return LogicalTensor(tuple(shape), source.dtype, lambda *indices: immediate(0, source.dtype))
    runs = list(reshape_runs(source.shape, shape))

    def element(*indices: Index) -> PrimExpr:
        places: list[Index] = [0] * len(source.shape)
        for axes, own in runs:
            linear: Index = 0
            for axis in own:
                if shape[axis] > 1:
                    linear = linear * shape[axis] + indices[axis]
            wide = [axis for axis in axes if source.shape[axis] > 1]
            for axis in reversed(wide):
                places[axis] = linear if axis == wide[0] else linear % source.shape[axis]
                linear = linear // source.shape[axis]
        return source(*places)

    return LogicalTensor(tuple(shape), source.dtype, element)


@lowers("onnx.Reshape", "onnx.Flatten", "onnx.Squeeze", "onnx.Unsqueeze")
def _reshape(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    return [reshaped(operands[0], operation.results[0].shape)]


@lowers("onnx.Expand")
def _expand(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    assert operands[0] is not None
    return [broadcast(operands[0], operation.results[0].shape)]


@lowers("onnx.Transpose")
def _transpose(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    rank = len(operation.results[0].shape)
    order = [int(a) for a in operation.attributes.get("perm", tuple(reversed(range(rank))))]  # type: ignore[union-attr, arg-type]
    position = [order.index(axis) for axis in range(rank)]
    return moved(operation, operands[0], lambda indices: [indices[position[axis]] for axis in range(rank)])


@lowers("onnx.Concat")
def _concat(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    result = operation.results[0]
    axis = int(operation.attributes["axis"]) % len(result.shape)  # type: ignore[arg-type]
    parts = [part for part in operands if part is not None and part.shape[axis] > 0]

    def element(*indices: Index) -> PrimExpr:
        return pick(parts, 0, indices)

    def pick(remaining: list[LogicalTensor], offset: int, indices: tuple[Index, ...]) -> PrimExpr:
        part = remaining[0]
        place = (*indices[:axis], indices[axis] - offset, *indices[axis + 1 :])
        if len(remaining) == 1:
            return part(*place)
        end = offset + part.shape[axis]
        return choose(indices[axis] < end, lambda: part(*place), lambda: pick(remaining[1:], end, indices))

    return [LogicalTensor(result.shape, result.dtype, element)]


@lowers("onnx.Split")
def _split(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source = operands[0]
    assert source is not None
    axis = int(operation.attributes.get("axis", 0)) % len(source.shape)  # type: ignore[arg-type]
    tensors, offset = [], 0
    for result in operation.results:
        tensors.append(_shifted(source, result.shape, axis, offset))
        offset += result.shape[axis]
    return tensors


def _shifted(source: LogicalTensor, shape: tuple[int, ...], axis: int, offset: int) -> LogicalTensor:
    def element(*indices: Index) -> PrimExpr:
        return source(*indices[:axis], indices[axis] + offset, *indices[axis + 1 :])

    return LogicalTensor(shape, source.dtype, element)


@lowers("onnx.Slice")
def _slice(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source = operands[0]
    assert source is not None
    rank = len(source.shape)
    starts = integers(operation, 1, "starts") or []
    ends = integers(operation, 2, "ends") or []
    axes = integers(operation, 3, "axes") or list(range(len(starts)))
    steps = integers(operation, 4, "steps") or [1] * len(starts)
    first, stride = [0] * rank, [1] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        first[axis % rank] = slice(start, end, step).indices(source.shape[axis % rank])[0]
        stride[axis % rank] = step
    return moved(operation, source, lambda indices: [f + i * s for f, i, s in zip(first, indices, stride, strict=True)])


@lowers("onnx.Tile")
def _tile(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source = operands[0]
    assert source is not None
    target = operation.results[0].shape

    def move(indices: tuple[Index, ...]) -> list[Index]:
        return [i if n == m else 0 if n == 1 else i % n for i, n, m in zip(indices, source.shape, target, strict=True)]

    return moved(operation, source, move)


@lowers("onnx.DepthToSpace")
def _depth_to_space(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    block = int(operation.attributes["blocksize"])  # type: ignore[arg-type]
    depth = operation.results[0].shape[1]
    by_column = operation.attributes.get("mode", "DCR") == "CRD"

    def move(indices: tuple[Index, ...]) -> list[Index]:
        n, c, h, w = indices
        inner = (h % block) * block + w % block
        return [n, c * (block * block) + inner if by_column else inner * depth + c, h // block, w // block]

    return moved(operation, operands[0], move)


@lowers("onnx.SpaceToDepth")
def _space_to_depth(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source = operands[0]
    assert source is not None
    block, depth = int(operation.attributes["blocksize"]), source.shape[1]  # type: ignore[arg-type]
    by_column = operation.attributes.get("mode", "DCR") == "CRD"

    def move(indices: tuple[Index, ...]) -> list[Index]:
        n, c, h, w = indices
        inner = c % (block * block) if by_column else c // depth
        channel = c // (block * block) if by_column else c % depth
        return [n, channel, h * block + inner // block, w * block + inner % block]

    return moved(operation, source, move)


@lowers("onnx.Trilu")
def _trilu(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source = operands[0]
    assert source is not None
    offset = parameter(operation, 1)
    k = 0 if offset is None else int(offset.reshape(-1)[0])
    upper = bool(operation.attributes.get("upper", 1))

    def element(*indices: Index) -> PrimExpr:
        from tvm import tirx

        row, column = indices[-2], indices[-1]
        kept = column - row >= k if upper else column - row <= k
        return tirx.Select(tirx.convert(kept), source(*indices), immediate(0, source.dtype))

    return [LogicalTensor(source.shape, source.dtype, element)]


@lowers("onnx.EyeLike")
def _eye_like(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    result = operation.results[0]
    k = int(operation.attributes.get("k", 0))  # type: ignore[arg-type]

    def element(row: Index, column: Index) -> PrimExpr:
        from tvm import tirx

        on_diagonal = tirx.EQ(tirx.convert(column), tirx.convert(row + k))
        return tirx.Select(on_diagonal, immediate(1, result.dtype), immediate(0, result.dtype))

    return [LogicalTensor(result.shape, result.dtype, element)]


@lowers("onnx.ConstantOfShape")
def _constant_of_shape(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    result = operation.results[0]
    value = operation.attributes.get("value")
    item = value.reshape(-1)[0].item() if isinstance(value, np.ndarray) else 0
    return [LogicalTensor(result.shape, result.dtype, lambda *indices: immediate(item, result.dtype))]


@lowers("onnx.Pad")
def _pad(_: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    source = operands[0]
    assert source is not None
    rank = len(source.shape)
    pads = integers(operation, 1, "pads") or []
    axes = integers(operation, 3, "axes") or list(range(rank))
    before = [0] * rank
    for position, axis in enumerate(axes):
        before[axis % rank] = pads[position]
    result = operation.results[0]
    mode = operation.attributes.get("mode", "constant")
    fill = operands[2] if len(operands) > 2 else None

    def element(*indices: Index) -> PrimExpr:
        places = [index - pad for index, pad in zip(indices, before, strict=True)]
        if mode != "constant":
            return source(*(_OUTSIDE[str(mode)](p, n) for p, n in zip(places, source.shape, strict=True)))
        conditions = []
        for place, pad, extent, target in zip(places, before, source.shape, result.shape, strict=True):
            if pad > 0:
                conditions.append(place >= 0)
            if target - pad > extent:
                conditions.append(place < extent)
        if not conditions:
            return source(*places)
        value = immediate(float(operation.attributes.get("value", 0)), source.dtype)  # type: ignore[arg-type]
        return choose(
            all_of(conditions),
            lambda: source(*places),
            lambda: value if fill is None else fill(*(0 for _ in fill.shape)),
        )

    return [LogicalTensor(result.shape, source.dtype, element)]


def all_of(conditions: Sequence[Any]) -> PrimExpr:
    """The conjunction of conditions, each a bool or an expression."""
    from tvm import tirx

    return tirx.all(*(tirx.convert(condition) for condition in conditions))


def clamp_index(index: Index, extent: int) -> PrimExpr:
    """The nearest legal index."""
    from tvm import tirx

    return tirx.max(tirx.min(index, tirx.const(extent - 1, "int32")), tirx.const(0, "int32"))


def _reflected(index: Index, extent: int) -> Index:
    from tvm import tirx

    if extent == 1:
        return 0
    period = 2 * (extent - 1)
    position = tirx.floormod(tirx.convert(index), tirx.const(period, "int32"))
    return tirx.min(position, tirx.const(period, "int32") - position)


def _wrapped(index: Index, extent: int) -> Index:
    from tvm import tirx

    return tirx.floormod(tirx.convert(index), tirx.const(extent, "int32"))


_OUTSIDE: dict[str, Callable[[Index, int], Index]] = {
    "edge": clamp_index,
    "reflect": _reflected,
    "wrap": _wrapped,
}
