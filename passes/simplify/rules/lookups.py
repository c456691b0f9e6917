"""Table lookups that were written as something else, and quantization that takes back a dequantization."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.ir.dims import Dim
from optc.ir.literals import same_bits
from optc.passes.rewrite import Builder, Match, Miss, PatternRule, on
from optc.passes.rewrite.matching import attribute
from optc.passes.rewrite.pattern import Pattern, PatternBuilder
from optc.passes.simplify.facts import ints, reshape_target, shape_of


def is_count(array: np.ndarray) -> bool:
    """Whether a constant is 0, 1, 2 … along its last axis and has no other."""
    return array.dtype.kind == "i" and array.size == array.shape[-1:][0] > 1 and bool(
        (array.reshape(-1) == np.arange(array.size)).all()
    )


class OneHotProduct(PatternRule):
    """(index == [0, 1, … n-1]) @ W → row `index` of W, which is zero where the index is outside."""

    def pattern(self, op: PatternBuilder, index: Pattern, table: Pattern) -> Pattern:
        numbers = op.constant("numbers", where=lambda array: array.ndim > 0 and is_count(array), expected="0, 1, 2 …")
        return op.MatMul(op.Cast(op.Equal(index, numbers)), table)

    def check(self, match: Match) -> str | None:
        shape, table = shape_of(match["index"]), match["table"].constant
        if table is None or table.ndim != 2:
            return "the matrix is no constant"
        if not shape or not isinstance(shape[-1], int) or shape[-1] != 1:
            return f"the index has the shape {match['index'].type}, whose last extent is not 1"
        return None if reshape_target(shape[:-1]) is not None else "the shape of the index is not known"

    def rewrite(self, op: Builder, index: Value, table: Value) -> Value:
        rows = table.constant
        assert rows is not None
        padded = np.concatenate([rows, np.zeros((1, rows.shape[1]), rows.dtype)])
        flat = op.Reshape(index, reshape_target((shape_of(index) or ())[:-1]))
        inside = op.And(op.GreaterOrEqual(flat, 0), op.Less(flat, len(rows)))
        return op.Gather(padded, op.Where(inside, flat, op.constant(len(rows), flat)), axis=0)


@on("Gather")
def gather_as_slice(op: Builder, operation: Operation) -> Value | None:
    """Gather of one known index, or of neighbours in their order → Slice, and a Reshape where axes come or go."""
    source, index = operation.operands
    shape, chosen = shape_of(source), ints(index)
    if source is None or not shape or not chosen or source.is_constant:
        return None
    axis = attribute(operation, "axis") % len(shape)
    extent: Dim = shape[axis]
    target = reshape_target(shape_of(operation.result))
    if not isinstance(extent, int) or target is None or not all(-extent <= item < extent for item in chosen):
        return None
    places = [item % extent for item in chosen]
    if places != list(range(places[0], places[0] + len(places))):
        return None
    return op.Reshape(op.Slice(source, [places[0]], [places[-1] + 1], [axis]), target)


@on("QuantizeLinear")
def remove_requantization(op: Builder, operation: Operation) -> Value | Miss | None:
    """quantize(dequantize(q)) with the same scale and zero point is q: the rounding error is far below a half."""
    source = operation.operands[0]
    inner = None if source is None else source.producer
    if inner is None or inner.name != "onnx.DequantizeLinear" or inner.operands[0] is None:
        return None
    if inner.operands[0].type != operation.result.type:
        return Miss("the element types differ")
    for position, what in ((1, "scale"), (2, "zero point")):
        first, second = inner.operand(position), operation.operand(position)
        arrays = [None if value is None else value.constant for value in (first, second)]
        if first is not second and (arrays[0] is None or arrays[1] is None or not same_bits(arrays[0], arrays[1])):
            return Miss(f"the {what}s differ")
    if any(attribute(inner, name) != attribute(operation, name) for name in ("axis", "block_size")):
        return Miss("the axes differ")
    return inner.operands[0]


RULES = (gather_as_slice, remove_requantization)
