"""Scaled dot-product attention, softmax(s Q Kᵀ + mask) V, as one operation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from optc.ir.core import Operation
from optc.ops import onnx_defaults
from optc.ops.declaration import Kind, declare, elements_of
from optc.ops.shapes import integer, number

QUERY, KEY, VALUE, MASK = range(4)
"""Positions of the operands."""

READS_IN_PLACE = frozenset({"onnx.Attention"})
"""Operations whose kernels read every operand where it lies, through any movements."""

_ATTRIBUTES = frozenset({"is_causal", "kv_num_heads", "q_num_heads", "scale", "softcap", "softmax_precision"})
_SOFTMAX_FLOPS = 5  # for each score: scale, maximum, difference, exponential, sum


def unusual_form(operation: Operation) -> str | None:
    """What an attention has beyond one result of operands (batch, heads, sequence, depth) and a mask; None if nothing.

    More heads of queries than of keys, a mask of either kind and `is_causal` are usual.
    """
    if unknown := sorted(operation.attributes.keys() - _ATTRIBUTES):
        return f"it has the attribute '{unknown[0]}'"
    if len(operation.results) > 1:
        return "it returns more than the attended values"
    if any(operand is not None for operand in operation.operands[MASK + 1 :]):
        return "it continues a cache of keys and values"
    if number(operation, "softcap", 0.0):
        return "its scores are capped"
    if operation.attributes.get("softmax_precision") is not None:
        return "the precision of its softmax is given"
    if any(value.tensor_type.rank != 4 for value in operation.operands[:MASK] if value is not None):
        return "its heads are not an axis of their own"
    return None


def scale_of(operation: Operation) -> float:
    """What the products of queries and keys are multiplied by."""
    query = operation.operands[QUERY]
    assert query is not None
    return float(number(operation, "scale", 0.0)) or 1.0 / math.sqrt(query.shape[-1])


def attend(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray | None, scale: float, causal: bool
) -> np.ndarray:
    """The reference in double precision.

    Args:
        query: (batch, heads, queries, depth).
        key: (batch, key heads, keys, depth); the key heads divide the heads, neighbouring heads share one.
        value: (batch, key heads, keys, value depth).
        mask: broadcasts to (batch, heads, queries, keys); bool (True: attended to) or what is added to the scores.
        scale: of the products.
        causal: whether query i sees the keys 0 … i only.

    Returns:
        (batch, heads, queries, value depth) in the type of the query; zeros for a query that sees no key.
    """
    wide = [np.repeat(each.astype(np.float64), query.shape[1] // each.shape[1], axis=1) for each in (query, key, value)]
    scores = wide[0] @ wide[1].swapaxes(-1, -2) * scale
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask.astype(np.float64)
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=np.bool_), scores, -np.inf)
    highest = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - np.where(np.isneginf(highest), 0.0, highest))
    total = powers.sum(axis=-1, keepdims=True)
    return ((powers / np.where(total == 0, 1.0, total)) @ wide[2]).astype(query.dtype)


def _evaluate(operation: Operation, arrays: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    query, key, value, mask = (*arrays, None)[:4]
    assert query is not None and key is not None and value is not None
    if unusual_form(operation) is not None or query.dtype.kind != "f":
        return onnx_defaults.evaluate(operation, arrays)
    return [attend(query, key, value, mask, scale_of(operation), bool(integer(operation, "is_causal")))]


def _flops(operation: Operation) -> int:
    """Both products and the softmax; forms with a cache are counted by their results alone."""
    if unusual_form(operation) is not None:
        return elements_of(operation)
    query, key, value = operation.operands[:MASK]
    assert query is not None and key is not None and value is not None
    batch, heads, queries, depth = query.shape
    return int(batch * heads * queries * key.shape[2] * (2 * depth + 2 * value.shape[3] + _SOFTMAX_FLOPS))


declare("onnx.Attention", Kind.CONTRACTION, evaluate=_evaluate, flops=_flops)
