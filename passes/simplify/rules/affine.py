"""Scales and shifts by constants go into the weights of the convolution or matrix product next to them.

New weights are worked out in f64 and rounded once. They are new constants: other readers of the old weights see no
change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.rewrite import Builder, Miss, Rule, on
from optc.passes.rewrite.matching import attribute
from optc.passes.simplify.facts import along, read_by, same_type, shape_of

_CONVOLUTIONS = ("onnx.Conv", "onnx.ConvTranspose")


def constant_side(operation: Operation) -> tuple[Value, np.ndarray] | None:
    """The other operand and the constant of an Add or Mul of reals that does not widen the other operand."""
    for value, other in (operation.operands, operation.operands[::-1]):
        array = None if other is None else other.constant
        if array is None or value is None or value.is_constant or not same_type(value, operation.result):
            continue
        if value.dtype.is_float:
            return value, array
    return None


@on("BatchNormalization")
def batch_norm_as_affine(op: Builder, operation: Operation) -> Sequence[Value | None] | Miss | None:
    """BatchNormalization with constant statistics → Mul + Add per channel."""
    source, *parameters = operation.operands
    shape = shape_of(source)
    if source is None or shape is None or len(shape) < 2:
        return None
    arrays = [value.constant for value in parameters if value is not None]
    if any(array is None for array in arrays):
        return Miss("its statistics are known only at run time")
    if attribute(operation, "training_mode") or any(result.uses for result in operation.results[1:]):
        return Miss("it is in training mode")
    scale, bias, mean, variance = (array.astype(np.float64) for array in arrays if array is not None)
    factor = scale / np.sqrt(variance + attribute(operation, "epsilon"))
    if not np.isfinite(factor).all():
        return Miss("a variance is negative or no number")
    per_channel = (-1,) + (1,) * (len(shape) - 2)
    dtype = source.dtype.numpy
    scaled = op.Mul(source, factor.astype(dtype).reshape(per_channel))
    shifted = op.Add(scaled, (bias - mean * factor).astype(dtype).reshape(per_channel))
    return [shifted] + [None] * (len(operation.results) - 1)


def _weights(operation: Operation) -> tuple[np.ndarray, np.ndarray | None] | Miss:
    """Constant weights and bias of a convolution in f64, or why there are none."""
    weight, bias = operation.operand(1), operation.operand(2)
    if weight is None or weight.constant is None or (bias is not None and bias.constant is None):
        return Miss("its weights are known only at run time")
    wide = None if bias is None or bias.constant is None else bias.constant.astype(np.float64)
    return weight.constant.astype(np.float64), wide


def _out_channels(operation: Operation, weight: np.ndarray) -> int:
    transposed = operation.name == "onnx.ConvTranspose"
    return weight.shape[1] * attribute(operation, "group") if transposed else weight.shape[0]


def _scaled(operation: Operation, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Weights times a factor per output channel."""
    if operation.name == "onnx.Conv":
        return weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
    groups = attribute(operation, "group")
    parts = weight.reshape(groups, -1, *weight.shape[1:]) * factor.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))
    return parts.reshape(weight.shape)


@on("Mul", "Add")
def affine_of_convolution(op: Builder, operation: Operation) -> Value | Miss | None:
    """Conv or ConvTranspose, then · c or + c per output channel."""
    found = constant_side(operation)
    conv = None if found is None else found[0].producer
    if found is None or conv is None or conv.name not in _CONVOLUTIONS:
        return None
    source, array = found
    vector = along(array, 1, len(shape_of(source) or ()))
    if vector is None:
        return Miss("the constant differs within a channel")
    if read_by(source) is not operation:
        return Miss(f"'{source.name}' has other readers")
    weights = _weights(conv)
    if isinstance(weights, Miss):
        return weights
    weight, bias = weights
    wide = np.broadcast_to(vector.astype(np.float64), (_out_channels(conv, weight),))
    dtype = source.dtype.numpy
    if operation.name == "onnx.Add":
        shifted = (wide if bias is None else bias + wide).astype(dtype)
        return op.clone(conv, [conv.operands[0], conv.operands[1], shifted])
    scaled = None if bias is None else (bias * wide).astype(dtype)
    return op.clone(conv, [conv.operands[0], _scaled(conv, weight, wide).astype(dtype), scaled])


def _input_factor(conv: Operation, weight: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """A vector over the input channels of a Conv, shaped to broadcast with its weights."""
    groups = attribute(conv, "group")
    wide = np.broadcast_to(vector.astype(np.float64), (weight.shape[1] * groups,)).reshape(groups, -1)
    return np.repeat(wide, weight.shape[0] // groups, axis=0).reshape(*weight.shape[:2], *(1,) * (weight.ndim - 2))


@on("Conv")
def affine_before_conv(op: Builder, operation: Operation) -> Value | Miss | None:
    """x · c or x + c per input channel, then Conv; a shift needs a Conv without padding."""
    source = operation.operands[0]
    affine = None if source is None else source.producer
    if source is None or affine is None or affine.name not in ("onnx.Mul", "onnx.Add"):
        return None
    found = constant_side(affine)
    vector = None if found is None else along(found[1], 1, len(shape_of(source) or ()))
    if found is None or vector is None:
        return None
    if read_by(source) is not operation:
        return Miss(f"'{source.name}' has other readers")
    weights = _weights(operation)
    if isinstance(weights, Miss):
        return weights
    weight, bias = weights
    factor, dtype = _input_factor(operation, weight, vector), source.dtype.numpy
    if affine.name == "onnx.Mul":
        return op.clone(operation, [found[0], (weight * factor).astype(dtype), operation.operand(2)])
    pads: Any = operation.attributes.get("pads", ())
    if any(pads) or attribute(operation, "auto_pad") not in ("NOTSET", "VALID"):
        return Miss("the padding of the convolution would have to hold the shift")
    shift = (weight * factor).sum(axis=tuple(range(1, weight.ndim))) + (0 if bias is None else bias)
    return op.clone(operation, [found[0], operation.operands[1], shift.astype(dtype)])


def _matrix(product: Operation | None) -> np.ndarray | None:
    """The constant right matrix of a MatMul."""
    if product is None or product.name != "onnx.MatMul" or product.operands[1] is None:
        return None
    array = product.operands[1].constant
    return array if array is not None and array.ndim == 2 and array.dtype.kind in "fV" else None


@on("Mul")
def scale_of_matmul(op: Builder, operation: Operation) -> Value | Miss | None:
    """(x @ W) · c and (x @ W + b) · c per column."""
    found = constant_side(operation)
    if found is None:
        return None
    source, array = found
    shift, producer = None, source.producer
    if producer is not None and producer.name == "onnx.Add" and (added := constant_side(producer)) is not None:
        shift, producer = added[1], added[0].producer
    matrix = _matrix(producer)
    if matrix is None or producer is None:
        return None
    vector = along(array, len(shape_of(source) or ()) - 1, len(shape_of(source) or ()))
    if vector is None:
        return Miss("the constant differs within a column")
    if read_by(source) is not operation or (shift is not None and read_by(producer.result) is not source.producer):
        return Miss(f"'{source.name}' has other readers")
    wide, dtype = vector.astype(np.float64), source.dtype.numpy
    result = op.MatMul(producer.operands[0], (matrix.astype(np.float64) * wide).astype(dtype))
    return result if shift is None else op.Add(result, (shift.astype(np.float64) * wide).astype(dtype))


@on("MatMul")
def affine_before_matmul(op: Builder, operation: Operation) -> Value | Miss | None:
    """(x · c) @ W and (x + c) @ W, c per row of W."""
    source, matrix = operation.operands[0], _matrix(operation)
    affine = None if source is None else source.producer
    if source is None or matrix is None or affine is None or affine.name not in ("onnx.Mul", "onnx.Add"):
        return None
    found, rank = constant_side(affine), len(shape_of(source) or ())
    vector = None if found is None else along(found[1], rank - 1, rank)
    if found is None or vector is None:
        return None
    if read_by(source) is not operation:
        return Miss(f"'{source.name}' has other readers")
    wide = np.broadcast_to(vector.astype(np.float64), (matrix.shape[0],))
    dtype = source.dtype.numpy
    if affine.name == "onnx.Mul":
        return op.MatMul(found[0], (matrix.astype(np.float64) * wide[:, None]).astype(dtype))
    return op.Add(op.MatMul(found[0], operation.operands[1]), (wide @ matrix.astype(np.float64)).astype(dtype))


@on("MatMul")
def scale_behind_matmul(op: Builder, operation: Operation) -> Value | None:
    """(a · s) @ b → (a @ b) · s for a number s, so that both factors of scaled attention become one.

    Not for 16-bit reals, where the product alone may overflow.
    """
    if any(value is None or value.is_constant for value in operation.operands) or operation.result.dtype.bits < 32:
        return None
    for position, value in enumerate(operation.operands):
        inner = None if value is None else value.producer
        if value is None or inner is None or inner.name != "onnx.Mul" or read_by(value) is not operation:
            continue
        found = constant_side(inner)
        if found is None or (factor := scalar_array(found[1])) is None:
            continue
        operands = list(operation.operands)
        operands[position] = found[0]
        return op.Mul(op.MatMul(*operands), factor)
    return None


@on("Transpose", "Reshape")
def scale_behind_movement(op: Builder, operation: Operation) -> Value | None:
    """transpose(a · s) @ b → (transpose(a) · s) @ b for a number s."""
    source = operation.operands[0]
    inner, reader = None if source is None else source.producer, read_by(operation.result)
    if source is None or inner is None or inner.name != "onnx.Mul" or read_by(source) is not operation:
        return None
    if reader is None or reader.name != "onnx.MatMul" or any(v is not None and v.is_constant for v in reader.operands):
        return None
    found = constant_side(inner)
    if found is None or (factor := scalar_array(found[1])) is None:
        return None
    return op.Mul(op.clone(operation, [found[0], *operation.operands[1:]]), factor)


def scalar_array(array: np.ndarray) -> np.ndarray | None:
    """A constant that holds one number, without axes."""
    return array.reshape(()) if array.size == 1 else None


@on("Mul", "Add")
def merge_constants(op: Builder, operation: Operation) -> Value | Miss | None:
    """(x · c) · d → x · (c·d), (x + c) + d → x + (c+d), where the new constant is no larger than the two."""
    found = constant_side(operation)
    inner = None if found is None else found[0].producer
    if found is None or inner is None or inner.name != operation.name:
        return None
    nested = constant_side(inner)
    if nested is None or np.broadcast(nested[1], found[1]).size > max(nested[1].size, found[1].size):
        return None
    if read_by(found[0]) is not operation:
        return Miss(f"'{found[0].name}' has other readers")
    wide = [array.astype(np.float64) for array in (nested[1], found[1])]
    with np.errstate(all="ignore"):
        merged = (wide[0] * wide[1] if operation.name == "onnx.Mul" else wide[0] + wide[1]).astype(found[1].dtype)
    if not np.isfinite(merged.astype(np.float64)).all():
        return Miss("the merged constant is not finite")
    return op.Mul(nested[0], merged) if operation.name == "onnx.Mul" else op.Add(nested[0], merged)


RULES: tuple[Rule, ...] = (
    batch_norm_as_affine,
    affine_of_convolution,
    affine_before_conv,
    scale_of_matmul,
    affine_before_matmul,
    scale_behind_matmul,
    scale_behind_movement,
    merge_constants,
)

