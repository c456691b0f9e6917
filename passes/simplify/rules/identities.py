"""Operations that give back their operand."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.ir.dims import product
from optc.ir.dtypes import DType
from optc.passes.rewrite import Builder, Miss, on
from optc.passes.rewrite.matching import attribute
from optc.passes.simplify.facts import ints, same_type, scalar, shape_of


@on("Identity")
def remove_identity(op: Builder, operation: Operation) -> Value | None:
    return operation.operands[0]


@on("Dropout")
def remove_dropout(op: Builder, operation: Operation) -> list[Value | None] | Miss | None:
    source, training = operation.operands[0], operation.operand(2)
    assert source is not None
    if training is not None and scalar_bool(training) is not False:
        return Miss("training_mode is not known to be false")
    if any(result.uses for result in operation.results[1:]):
        return Miss("its mask is read")
    return [source, None][: len(operation.results)]


def scalar_bool(value: Value) -> bool | None:
    array = value.constant
    return bool(array.item()) if array is not None and array.size == 1 else None


@on("Cast", "CastLike")
def remove_cast(op: Builder, operation: Operation) -> Value | None:
    source = operation.operands[0]
    assert source is not None
    return source if source.type == operation.result.type else None


@on("Cast")
def merge_casts(op: Builder, operation: Operation) -> Value | None:
    """Cast∘Cast where the first one keeps every value."""
    inner = operation.operands[0].producer if operation.operands[0] is not None else None
    if inner is None or inner.name != "onnx.Cast" or inner.operands[0] is None:
        return None
    if not keeps_values(inner.operands[0].dtype, inner.result.dtype):
        return None
    return op.clone(operation, [inner.operands[0]])


def keeps_values(source: DType, target: DType) -> bool:
    """Whether every value of one element type exists in another."""
    if source.name == "bool":
        return target.is_integer or target.is_float
    if source.is_integer and target.is_integer:
        signed = target.name[0] == "i"
        return source.bits < target.bits and (signed or source.name[0] == "u")
    if source.name in ("f16", "bf16"):
        return target.name in ("f32", "f64")
    return source.name == "f32" and target.name == "f64"


@on("Reshape", "Expand", "Tile", "Flatten", "Split")
def remove_same_shape(op: Builder, operation: Operation) -> Value | None:
    """A Reshape, Expand, Tile … to the shape that the tensor has, a Split into one part."""
    source = operation.operands[0]
    if source is None or len(operation.results) != 1:
        return None
    return source if same_type(source, operation.result) else None


@on("Slice")
def remove_whole_slice(op: Builder, operation: Operation) -> Value | None:
    source, steps = operation.operands[0], operation.operand(4)
    assert source is not None
    if steps is not None and (ints(steps) is None or any(step != 1 for step in ints(steps) or ())):
        return None
    return source if same_type(source, operation.result) else None


@on("Pad")
def remove_pad(op: Builder, operation: Operation) -> Value | None:
    pads = ints(operation.operand(1))
    return operation.operands[0] if pads is not None and not any(pads) else None


@on("Resize")
def remove_resize(op: Builder, operation: Operation) -> Value | None:
    """A Resize to the size that the tensor has; the region of interest of one mode may still cut a part out."""
    source = operation.operands[0]
    assert source is not None
    whole = attribute(operation, "coordinate_transformation_mode") != "tf_crop_and_resize"
    scales = operation.operand(2)
    # Scales near one may round to the same size and still move the samples.
    exact = operation.operand(3) is not None or (scales is not None and scalar(scales) == 1)
    return source if whole and exact and same_type(source, operation.result) else None


@on("Concat")
def remove_concat(op: Builder, operation: Operation) -> Value | None:
    """A Concat of one tensor, or with empty ones."""
    kept = [value for value in operation.present_operands if not is_empty(value)]
    if len(kept) == len(operation.operands):
        return kept[0] if len(kept) == 1 else None
    if not kept:
        return operation.present_operands[0] if same_type(operation.present_operands[0], operation.result) else None
    return kept[0] if len(kept) == 1 else op.clone(operation, kept)


def is_empty(value: Value) -> bool:
    shape = shape_of(value)
    return shape is not None and product(shape) == 0


@on("Concat")
def flatten_concat(op: Builder, operation: Operation) -> Value | None:
    """Concat of a Concat along the same axis that nobody else reads."""
    rank = len(shape_of(operation.result) or ())
    if not rank:
        return None
    axis = int(operation.attributes["axis"]) % rank  # type: ignore[arg-type]
    parts: list[Value] = []
    for value in operation.present_operands:
        inner = value.producer
        nested = inner is not None and inner.name == "onnx.Concat" and value.users == [operation]
        if nested and inner is not None and int(inner.attributes["axis"]) % rank == axis:  # type: ignore[arg-type]
            parts += inner.present_operands
        else:
            parts.append(value)
    return op.clone(operation, parts) if len(parts) > len(operation.operands) else None


@on("Add", "Sub", "Mul", "Div", "Pow")
def remove_neutral(op: Builder, operation: Operation) -> Value | None:
    """x + 0, x - 0, x · 1, x / 1, x ^ 1. The sign of a zero may change."""
    neutral = 0 if operation.name in ("onnx.Add", "onnx.Sub") else 1
    left, right = operation.operands
    sides = [(left, right), (right, left)] if operation.name in ("onnx.Add", "onnx.Mul") else [(left, right)]
    for kept, other in sides:
        if scalar(other) == neutral and kept is not None and same_type(kept, operation.result):
            return kept
    return None


@on("Neg", "Not")
def remove_inverse(op: Builder, operation: Operation) -> Value | None:
    """-(-x), not not x."""
    inner = operation.operands[0].producer if operation.operands[0] is not None else None
    return inner.operands[0] if inner is not None and inner.name == operation.name else None


_BROADCASTING = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where")
_COMPARING = ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")


@on(*_BROADCASTING, *_COMPARING)
def remove_broadcast(op: Builder, operation: Operation) -> Value | None:
    """An Expand (or a Tile of unit axes) in front of an operation that broadcasts by itself."""
    operands = list(operation.operands)
    for position, value in enumerate(operands):
        producer = None if value is None else value.producer
        if producer is None or producer.name not in ("onnx.Expand", "onnx.Tile") or producer.operands[0] is None:
            continue
        source = producer.operands[0]
        if producer.name == "onnx.Tile" and not _tiles_unit_axes(producer):
            continue
        trial = [*operands[:position], source, *operands[position + 1 :]]
        if _broadcast_shape(trial) == shape_of(operation.result):
            operands = trial
    return op.clone(operation, operands) if operands != list(operation.operands) else None


def _tiles_unit_axes(tile: Operation) -> bool:
    source, result = shape_of(tile.operands[0]), shape_of(tile.result)
    return source is not None and result is not None and all(
        a in (1, b) for a, b in zip(source, result, strict=True)
    )


def _broadcast_shape(values: list[Value | None]) -> tuple[int, ...] | None:
    shapes = [shape_of(value) for value in values]
    if any(shape is None or not all(isinstance(dim, int) for dim in shape) for shape in shapes):
        return None
    return tuple(np.broadcast_shapes(*shapes))  # type: ignore[arg-type]


RULES = (
    remove_identity,
    remove_dropout,
    remove_cast,
    merge_casts,
    remove_same_shape,
    remove_whole_slice,
    remove_pad,
    remove_resize,
    remove_concat,
    flatten_concat,
    remove_neutral,
    remove_inverse,
    remove_broadcast,
)
