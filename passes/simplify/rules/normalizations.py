"""Normalizations, Softmax and pooling that were taken apart."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.rewrite import Builder, Match, Miss, PatternRule, on
from optc.passes.rewrite.matching import attribute
from optc.passes.rewrite.pattern import Pattern, PatternBuilder
from optc.passes.simplify.facts import ints, normalized, read_by, reshape_target, same_type, shape_of


def trailing_axis(value: Value, axes: Value | None) -> int | str:
    """The first of constant axes that reach to the last one, or why they do not."""
    shape, given = shape_of(value), ints(axes)
    if shape is None or not given:
        return "the reduced axes are not known"
    chosen = normalized(given, len(shape))
    if chosen != tuple(range(chosen[0], len(shape))):
        return f"it reduces the axes {list(chosen)} of {len(shape)}, which are not the last ones"
    if not all(isinstance(dim, int) for dim in shape[chosen[0] :]):
        return f"the extents of the reduced axes are not known: {value.type}"
    return chosen[0]


def inverse_root(op: PatternBuilder, value: Pattern, variance: Pattern) -> Pattern:
    """value / √(variance + ε), with ε under the name `epsilon`."""
    root = op.Sqrt(variance + op.constant("epsilon", where=lambda array: array.size == 1, expected="a number"))
    return op.either(value / root, value * op.Reciprocal(root), value * (1 / root))


class NormalizationRule(PatternRule):
    """Normalizes the last axes of x; the scale is one, until a Mul behind it is folded in."""

    def check(self, match: Match) -> str | None:
        axis = trailing_axis(match["x"], match["axes"])
        if isinstance(axis, str):
            return axis
        if "axes2" in match and ints(match["axes2"]) != ints(match["axes"]):
            return "mean and variance are taken over different axes"
        if not match["x"].dtype.is_float:
            return "it is no arithmetic on reals"
        return None if same_type(match["x"], match.root.result) else "its result has another shape than x"

    def attributes(self, match: Match) -> tuple[np.ndarray, dict[str, float | int]]:
        """Ones of the normalized shape, and the attributes."""
        x = match["x"]
        axis = trailing_axis(x, match["axes"])
        assert isinstance(axis, int)
        extents = [int(dim) for dim in (shape_of(x) or ())[axis:]]  # type: ignore[arg-type]
        epsilon = float(match.constant("epsilon").item())
        return np.ones(extents, x.dtype.numpy), {"axis": axis - len(shape_of(x) or ()), "epsilon": epsilon}


class LayerNormalization(NormalizationRule):
    """(x - mean) / √(mean((x - mean)²) + ε)"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        centred = x - op.ReduceMean(x, op.constant("axes"), keepdims=1)
        square = op.either(op.Mul(centred, centred), op.Pow(centred, 2))
        return inverse_root(op, centred, op.ReduceMean(square, op.constant("axes2"), keepdims=1))

    def rewrite(self, op: Builder, x: Value, match: Match) -> Value:
        ones, attributes = self.attributes(match)
        return op.LayerNormalization(x, ones, **attributes)


class RmsNormalization(NormalizationRule):
    """x / √(mean(x²) + ε)"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        square = op.either(op.Mul(x, x), op.Pow(x, 2))
        return inverse_root(op, x, op.ReduceMean(square, op.constant("axes"), keepdims=1))

    def rewrite(self, op: Builder, x: Value, match: Match) -> Value:
        ones, attributes = self.attributes(match)
        return op.RMSNormalization(x, ones, **attributes)


@on("Mul", "Add")
def affine_of_normalization(op: Builder, operation: Operation) -> Value | Miss | None:
    """A Mul or Add of a constant behind LayerNormalization or RMSNormalization goes into its scale and bias."""
    for value, other in (operation.operands, operation.operands[::-1]):
        producer = None if value is None else value.producer
        array = None if other is None else other.constant
        if value is None or producer is None or array is None or not same_type(value, operation.result):
            continue
        if producer.name not in ("onnx.LayerNormalization", "onnx.RMSNormalization"):
            continue
        scale, bias = producer.operand(1), producer.operand(2)
        if operation.name == "onnx.Add" and producer.name == "onnx.RMSNormalization":
            return None
        if scale is None or scale.constant is None or (bias is not None and bias.constant is None):
            return Miss("its scale is known only at run time")
        rank = len(shape_of(value) or ())
        normal = (shape_of(value) or ())[attribute(producer, "axis") % rank :]
        if not all(isinstance(dim, int) for dim in normal):
            return Miss(f"the normalized extents are not known: {value.type}")
        extents = tuple(int(dim) for dim in normal)  # type: ignore[arg-type]
        while array.ndim > len(extents) and array.shape[0] == 1:
            array = array[0]
        if array.ndim > len(extents) or np.broadcast_shapes(array.shape, extents) != extents:
            return Miss("the constant does not have the normalized shape")
        if read_by(value) is not operation:
            return Miss(f"'{value.name}' has other readers")
        old = None if bias is None else bias.constant
        if operation.name == "onnx.Add":
            moved = np.broadcast_to(array, extents) if old is None else array + old
            return op.clone(producer, [producer.operands[0], scale, np.ascontiguousarray(moved)])
        scaled = np.ascontiguousarray(scale.constant * array)
        return op.clone(producer, [producer.operands[0], scaled, None if old is None else old * array])
    return None


class Softmax(PatternRule):
    """exp(x - max(x)) / sum(exp(x - max(x)))"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        power = op.Exp(x - op.ReduceMax(x, op.constant("axes"), keepdims=1))
        total = op.ReduceSum(power, op.constant("axes2"), keepdims=1)
        return op.either(power / total, power * op.Reciprocal(total))

    def check(self, match: Match) -> str | None:
        first, second = ints(match["axes"]), ints(match["axes2"])
        if shape_of(match["x"]) is None or first is None or second is None:
            return "the reduced axes are not known"
        rank = len(shape_of(match["x"]) or ())
        if len(first) != 1 or normalized(first, rank) != normalized(second, rank):
            return f"it reduces the axes {list(first)} and {list(second)}, which are not one and the same"
        return None

    def rewrite(self, op: Builder, x: Value, axes: Value) -> Value:
        (axis,) = ints(axes) or (-1,)
        return op.Softmax(x, axis=axis)


@on("ReduceMean")
def mean_as_pool(op: Builder, operation: Operation) -> Value | None:
    """ReduceMean over all spatial axes → GlobalAveragePool, and a Reshape where the axes go away."""
    source, axes = operation.operands[0], ints(operation.operand(1))
    shape = shape_of(source)
    # With three axes, the mean over the last one is as often that of a normalization.
    if source is None or shape is None or not axes or len(shape) < 4 or not source.dtype.is_float:
        return None
    if normalized(axes, len(shape)) != tuple(range(2, len(shape))):
        return None
    if attribute(operation, "keepdims"):
        return op.GlobalAveragePool(source)
    target = reshape_target(shape_of(operation.result))
    return None if target is None else op.Reshape(op.GlobalAveragePool(source), target)


RULES = (LayerNormalization(), RmsNormalization(), affine_of_normalization, Softmax(), mean_as_pool)
