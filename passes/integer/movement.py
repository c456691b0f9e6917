"""What only moves or selects numbers does so with their codes: DequantizeLinear goes behind it, QuantizeLinear before.

All of it is exact: the codes of a tensor are in the order of its values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.integer.coding import DEQUANTIZE, QUANTIZE, Coding, coding_of, dequantized
from optc.passes.rewrite import Builder, on
from optc.passes.rewrite.matching import attribute
from optc.passes.simplify.facts import read_by, scalar
from optc.passes.simplify.rules.arithmetic import bounds, clamp

MOVES = (
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Slice", "Expand", "Tile", "Gather", "Split",
    "DepthToSpace", "SpaceToDepth", "MaxPool", "Pad", "Resize",
)  # fmt: skip
"""Operations whose results are among the numbers of their first operand (and of what a Pad adds)."""

_BYTES = frozenset({"u8", "i8"})


def _moves(operation: Operation) -> bool:
    """Whether each result is one of the numbers of the first operand."""
    if operation.name == "onnx.MaxPool":
        return len(operation.results) == 1
    if operation.name == "onnx.Resize":
        crops = attribute(operation, "coordinate_transformation_mode") == "tf_crop_and_resize"
        return attribute(operation, "mode") == "nearest" and not crops
    return True


def _moved(op: Builder, operation: Operation, data: Value, coding: Coding) -> Sequence[Value] | None:
    """The operation on codes; None where the number that a Pad adds is not known or has no code."""
    operands = [data, *operation.operands[1:]]
    if operation.name == "onnx.Pad" and attribute(operation, "mode") == "constant":
        filling = 0.0 if operation.operand(2) is None else scalar(operation.operand(2))
        if filling is None:
            return None
        code = np.clip(np.rint(np.float32(filling) / coding.scale) + coding.zero, coding.least, coding.largest)
        operands[2:3] = [op.constant(np.asarray(code, coding.dtype.numpy))]
    made = op.clone(operation, operands)
    return made if isinstance(made, tuple) else (made,)


def _turned(operation: Operation, coding: Coding) -> Coding | None:
    """The coding behind an operation on codes; None where scales of slices would not stay together."""
    if coding.axis is None:
        return coding
    perm = operation.attributes.get("perm")
    if operation.name != "onnx.Transpose" or not isinstance(perm, tuple):
        return None
    return Coding(coding.scale, coding.zero, coding.dtype, perm.index(coding.axis))


@on(*MOVES)
def dequantize_later(op: Builder, operation: Operation) -> Sequence[Value] | None:
    """move(DequantizeLinear(x)) → DequantizeLinear(move(x))."""
    found = dequantized(operation.operands[0])
    if found is None or found[1].dtype.name not in _BYTES or not _moves(operation):
        return None
    codes, coding = found
    behind = _turned(operation, coding)
    if behind is None:
        return None
    if operation.name == "onnx.Pad" and not _is_exact(operation, coding):
        return None
    moved = _moved(op, operation, codes, coding)
    return None if moved is None else [behind.dequantize(op, each) for each in moved]


def _is_exact(pad: Operation, coding: Coding) -> bool:
    """Whether a code stands for exactly the number that a Pad adds."""
    filling = 0.0 if pad.operand(2) is None else scalar(pad.operand(2))
    if attribute(pad, "mode") != "constant" or filling == 0:
        return True
    if filling is None:
        return False
    code = np.rint(np.float32(filling) / coding.scale)
    inside = coding.least <= code + coding.zero <= coding.largest
    return bool(inside and np.float32(code) * coding.scale == np.float32(filling))


@on("Concat")
def dequantize_joined(op: Builder, operation: Operation) -> Value | None:
    """Concat of codes that mean the same."""
    found = [dequantized(value) for value in operation.operands]
    first = found[0]
    if first is None or first[1].axis is not None or first[1].dtype.name not in _BYTES:
        return None
    if any(each is None or not each[1].equals(first[1]) for each in found):
        return None
    return first[1].dequantize(op, op.Concat(*(each[0] for each in found if each is not None), **operation.attributes))


@on("QuantizeLinear")
def quantize_earlier(op: Builder, operation: Operation) -> Value | None:
    """QuantizeLinear(move(x)) → move(QuantizeLinear(x)), where nobody else reads what is in between."""
    coding, source = coding_of(operation, QUANTIZE), operation.operands[0]
    if coding is None or coding.axis is not None or coding.dtype.name not in _BYTES or source is None:
        return None
    move = source.producer
    if move is None or len(move.results) > 1 or read_by(source) is not operation:
        return None
    kind = move.name.removeprefix("onnx.")
    joins = kind == "Concat"
    if not joins and (kind not in MOVES or not _moves(move)):
        return None
    data = [value for value in (move.operands if joins else move.operands[:1]) if value is not None]
    if any(not value.is_constant and read_by(value) is not move for value in data):
        return None
    codes = [coding.quantize(op, value) for value in data]
    if joins:
        return op.Concat(*codes, **move.attributes)
    moved = _moved(op, move, codes[0], coding)
    return None if moved is None else moved[0]


@on("QuantizeLinear")
def same_codes(op: Builder, operation: Operation) -> Value | None:
    """QuantizeLinear(DequantizeLinear(x)) with equal parameters → x."""
    coding, found = coding_of(operation, QUANTIZE), dequantized(operation.operands[0])
    return found[0] if coding is not None and found is not None and found[1].equals(coding) else None


@on("QuantizeLinear")
def saturation_clamps(op: Builder, operation: Operation) -> Value | None:
    """A Relu or Clip in front of QuantizeLinear goes, as far as the range of the codes clamps in its place."""
    coding, source = coding_of(operation, QUANTIZE), operation.operands[0]
    inner = None if source is None else source.producer
    if coding is None or coding.axis is not None or source is None or inner is None:
        return None
    if inner.name not in ("onnx.Relu", "onnx.Clip") or read_by(source) is not operation:
        return None
    limits = bounds(inner)
    if limits is None:
        return None
    codes = [np.rint(np.float32(bound) / coding.scale) + coding.zero for bound in limits]
    low = -np.inf if codes[0] <= coding.least else limits[0]
    high = np.inf if codes[1] >= coding.largest else limits[1]
    if (low, high) == limits:
        return None
    data = inner.operands[0]
    assert data is not None
    return coding.quantize(op, data if (low, high) == (-np.inf, np.inf) else clamp(op, data, low, high))


@on("Relu", "Clip")
def range_clamps(op: Builder, operation: Operation) -> Value | None:
    """A Relu or Clip of DequantizeLinear goes where no code stands for a number outside its bounds."""
    found, limits = dequantized(operation.operands[0]), bounds(operation)
    if found is None or limits is None or found[1].axis is not None:
        return None
    coding = found[1]
    ends = [np.float32(code - coding.zero) * coding.scale for code in (coding.least, coding.largest)]
    return operation.operands[0] if limits[0] <= ends[0] and ends[1] <= limits[1] else None


@on("DequantizeLinear")
def nibbles_as_bytes(op: Builder, operation: Operation) -> Value | None:
    """Constant codes of four bits are stored in bytes, which everything that follows knows."""
    codes, scale, zero = operation.operands[0], operation.operand(1), operation.operand(2)
    if codes is None or codes.constant is None or codes.dtype.name not in ("u4", "i4"):
        return None
    if zero is not None and zero.constant is None:
        return None
    wide = np.dtype(np.uint8 if codes.dtype.name == "u4" else np.int8)
    zeros = None if zero is None or zero.constant is None else zero.constant.astype(wide)
    return op.call(DEQUANTIZE, [op.constant(codes.constant.astype(wide)), scale, zeros], operation.attributes)


RULES = (
    nibbles_as_bytes,
    same_codes,
    saturation_clamps,
    range_clamps,
    quantize_earlier,
    dequantize_later,
    dequantize_joined,
)
