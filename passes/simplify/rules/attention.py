"""Scaled dot-product attention as exporters write it: softmax(q kᵀ · s + mask) v."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.rewrite import Builder, Miss
from optc.passes.rewrite.matching import attribute
from optc.passes.rewrite.rules import Outcome
from optc.passes.simplify.facts import read_by, scalar, shape_of

Supports = Callable[[Operation], "str | None"]


@dataclass
class _Scores:
    """What stands between the product of queries and keys and the softmax, read backwards."""

    value: Value
    scale: float = 1.0
    mask: Value | None = None
    causal: bool = False


@dataclass(frozen=True)
class AttentionRule:
    """MatMul(Softmax(MatMul(q, kᵀ) · s + mask), v) → Attention, where there is native code for the result.

    The scale may be a Mul or Div by a number, on either side of the product (`canonicalize` brings it behind it). The
    mask may be added, or chosen by a Where that puts -∞ or the lowest number in its place; a constant lower triangle
    becomes `is_causal`. A Where that turns NaN behind the softmax into zero is part of it, since Attention gives zeros
    to a query that sees no key.
    """

    supports: Supports = field(repr=False)
    name: str = "attention"
    roots: frozenset[str] = frozenset({"onnx.MatMul"})

    def apply(self, op: Builder, operation: Operation) -> Outcome:
        softmax = _softmax(operation.operands[0])
        if softmax is None:
            return None
        value, weights = operation.operands[1], softmax.operands[0]
        rank = len(shape_of(weights) or ())
        if weights is None or value is None or attribute(softmax, "axis") % rank != rank - 1:
            return None
        attending = operation.operands[0]
        assert attending is not None
        if read_by(attending) is None:
            return Miss("its weights have other readers")
        found = _scores(op, weights)
        if isinstance(found, Miss):
            return found
        product = found.value.producer
        assert product is not None
        query, turned = product.operands[0], product.operands[1]
        assert query is not None and turned is not None
        lead = [tuple(shape_of(each) or ())[:-2] for each in (query, turned, value)]
        if not all(_is_static(each) for each in (query, turned, value)) or len(lead[0]) not in (1, 2):
            return Miss("its operands do not have the axes batch, heads, sequence, depth, of known extents")
        if lead[0] != lead[1] or lead[0] != lead[2]:
            return Miss("its operands have different heads")
        return self._made(op, operation, found, query, turned, value)

    def _made(
        self, op: Builder, operation: Operation, found: _Scores, query: Value, turned: Value, value: Value
    ) -> Outcome:
        four = len(query.shape) == 4
        key = _turned(op, turned)
        operands = [query, key, value] if four else [_unsqueezed(op, each) for each in (query, key, value)]
        mask = found.mask
        if mask is not None and not four:
            mask = _unsqueezed(op, mask, 4)
        elif mask is not None and len(mask.shape) < 2:
            mask = _unsqueezed(op, mask, 2)
        result = op.Attention(
            *operands, mask, scale=found.scale, is_causal=1 if found.causal else None, q_num_heads=None
        )
        made = result.producer
        assert made is not None
        refusal = self.supports(made)
        if refusal is not None:
            return Miss(refusal)
        return [result if four else op.Reshape(result, list(operation.result.shape))]


def _softmax(value: Value | None) -> Operation | None:
    """The softmax that makes the weights, perhaps with zeros in place of NaN."""
    producer = None if value is None else value.producer
    if producer is not None and producer.name == "onnx.Where" and value is not None and read_by(value) is not None:
        condition, zero, kept = producer.operands
        test = None if condition is None else condition.producer
        inner = None if kept is None else kept.producer
        if test is None or test.name != "onnx.IsNaN" or test.operands[0] is not kept or scalar(zero) != 0:
            return None
        if inner is None or inner.name != "onnx.Softmax" or set(inner.result.users) != {test, producer}:
            return None
        return inner
    return producer if producer is not None and producer.name == "onnx.Softmax" else None


def _scores(op: Builder, weights: Value) -> _Scores | Miss:
    found = _Scores(weights)
    while True:
        producer = found.value.producer
        if producer is None:
            return Miss("its scores are no product of matrices")
        if found.value is not weights and read_by(found.value) is None:
            return Miss(f"'{found.value.name}' has other readers")
        if producer.name == "onnx.MatMul":
            if read_by(found.value) is None:
                return Miss(f"'{found.value.name}' has other readers")
            return found
        if producer.name == "onnx.Identity" and producer.operands[0] is not None:
            found.value = producer.operands[0]
            continue
        if (factor := _factor(producer)) is not None:
            found.value, found.scale = factor[0], found.scale * factor[1]
            continue
        masked = None if found.scale != 1.0 or found.mask is not None or found.causal else _mask(op, producer)
        if masked is None:
            return Miss(f"{producer.name} stands between the product of queries and keys and the softmax")
        if isinstance(masked, Miss):
            return masked
        source, mask = masked
        if shape_of(source) != shape_of(found.value):
            return Miss("the mask widens the scores")
        found.value = source
        if _is_causal(mask, shape_of(source) or ()):
            found.causal = True
        else:
            found.mask = mask


def _factor(operation: Operation) -> tuple[Value, float] | None:
    """The other operand and the number of a Mul or Div."""
    if operation.name not in ("onnx.Mul", "onnx.Div"):
        return None
    first, second = operation.operands
    number = scalar(second)
    if operation.name == "onnx.Div":
        return None if first is None or not number else (first, 1.0 / float(number))
    if number is None:
        first, number = second, scalar(first)
    return None if first is None or not number or first.is_constant else (first, float(number))


def _mask(op: Builder, operation: Operation) -> tuple[Value, Value] | Miss | None:
    """The scores and the mask of an Add or Where; the mask is bool or of the type of the scores."""
    if operation.name == "onnx.Add":
        sides = [value for value in operation.operands if value is not None]
        for source, mask in (sides, sides[::-1]):
            if shape_of(source) == shape_of(operation.result) and not source.is_constant and _reaches_product(source):
                return (source, mask) if _covers(mask, operation.result) else Miss("its mask is the same for all keys")
        return None
    if operation.name == "onnx.Where":
        condition, first, second = operation.operands
        assert condition is not None and first is not None and second is not None
        if (hidden := scalar(second)) is not None:
            source, keeps = first, True
        elif (hidden := scalar(first)) is not None:
            source, keeps = second, False
        else:
            return None
        lowest = float(np.finfo(source.dtype.numpy).min)
        if not _covers(condition, operation.result):
            return Miss("its mask is the same for all keys")
        if hidden == -math.inf:
            return source, (condition if keeps else op.Not(condition))
        if hidden != lowest:
            return Miss(f"its mask puts {hidden:g} in the place of scores")
        # The lowest number swallows any score that is added to it.
        zero = np.zeros((), source.dtype.numpy)
        bias = op.Where(condition, *((zero, second) if keeps else (first, zero)))
        return source, bias
    return None


def _reaches_product(value: Value) -> bool:
    """Whether only factors stand between a value and a product."""
    producer: Operation | None = value.producer
    while producer is not None and producer.name != "onnx.MatMul":
        factor = _factor(producer)
        producer = None if factor is None else factor[0].producer
    return producer is not None


def _covers(mask: Value, scores: Value) -> bool:
    """Whether a mask has one element for each key, and no axes beyond those of the scores."""
    shape, whole = shape_of(mask), shape_of(scores)
    return bool(shape) and whole is not None and len(shape) <= len(whole) and shape[-1] == whole[-1]  # type: ignore[arg-type,index]


def _is_causal(mask: Value, scores: tuple[object, ...]) -> bool:
    """Whether a constant mask hides from query i exactly the keys after i."""
    array = mask.constant
    if array is None or array.ndim < 2 or array.shape[-2:] != scores[-2:]:
        return False
    seen = np.tri(*array.shape[-2:], dtype=np.bool_)
    if array.dtype == bool:
        return bool((array == seen).all())
    lowest = np.finfo(array.dtype).min
    return bool(((array == 0) == seen).all() and (array[..., ~seen] <= lowest).all())


def _is_static(value: Value) -> bool:
    return all(isinstance(extent, int) for extent in shape_of(value) or (None,))


def _turned(op: Builder, value: Value) -> Value:
    """The matrices of a value transposed, without a Transpose where one made them."""
    rank = len(value.shape)
    order = (*range(rank - 2), rank - 1, rank - 2)
    producer = value.producer
    if producer is not None and producer.name == "onnx.Transpose" and producer.attributes.get("perm") == order:
        assert producer.operands[0] is not None
        return producer.operands[0]
    return op.Transpose(value, perm=order)


def _unsqueezed(op: Builder, value: Value, rank: int = 4) -> Value:
    """A value with leading axes of extent 1 up to a rank."""
    return op.Reshape(value, [*(1,) * (rank - len(value.shape)), *value.shape])
