"""Values of shape arithmetic, known before the model runs: `Shape → Gather → Concat → Reshape` without folding.

A value is an object array whose elements are ints, floats, bools, symbolic dimensions, or None where unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from optc.ir.core import CONSTANT, Operation, Value
from optc.ir.dims import Dim, SymbolicDim
from optc.ir.types import TensorType

LARGEST = 1024  # elements; larger integer tensors are data, not shapes

Known = np.ndarray
Lookup = Callable[[Value], "Known | None"]
Rule = Callable[[Operation, list["Known | None"]], "Known | None"]

_cache: ContextVar[dict[Value, Known | None] | None] = ContextVar("known_values", default=None)


@contextmanager
def remembered() -> Iterator[None]:
    """Keep what is worked out inside the block, as long as operations only get added in order."""
    token = _cache.set({})
    try:
        yield
    finally:
        _cache.reset(token)


def value_of(value: Value | None) -> Known | None:
    """What is known of the elements of a small tensor; None when nothing is."""
    if value is None:
        return None
    cache = _cache.get()
    return _lookup(value, {} if cache is None else cache)


def dims_of(value: Value | None) -> list[Dim | None] | None:
    """The elements of a vector (or scalar) of extents, None for each unknown one; None when all are unknown."""
    known = value_of(value)
    if known is None:
        return None
    return [item if isinstance(item, SymbolicDim) else None if item is None else int(item) for item in known.ravel()]


def ints_of(value: Value | None) -> list[int] | None:
    """The elements of a vector when every one is a known int."""
    dims = dims_of(value)
    if dims is None or not all(isinstance(dim, int) for dim in dims):
        return None
    return [int(dim) for dim in dims]  # type: ignore[arg-type]


def _lookup(value: Value, cache: dict[Value, Known | None]) -> Known | None:
    # Iterative: chains of shape arithmetic can be longer than Python's stack.
    stack = [value]
    while stack:
        top = stack[-1]
        if top in cache:
            stack.pop()
            continue
        producer = top.producer
        if producer is None or (producer.name != CONSTANT and producer.name not in RULES):
            cache[top] = None
            continue
        if producer.name == CONSTANT:
            cache[top] = _constant(top)
            continue
        waiting = [v for v in producer.present_operands if v not in cache]
        if waiting and producer.name not in ("onnx.Shape", "onnx.Size"):
            stack.extend(waiting)
            continue
        cache[top] = _apply(producer, top, cache)
    return cache[value]


def _apply(producer: Operation, value: Value, cache: dict[Value, Known | None]) -> Known | None:
    operands = [None if v is None else cache.get(v) for v in producer.operands]
    try:
        known = RULES[producer.name](producer, operands)
    except (ValueError, IndexError, TypeError, ZeroDivisionError, AssertionError, OverflowError):
        return None  # operands that do not fit: inference of this operation itself says why
    if known is None or len(producer.results) > 1:
        known = known[value.index] if known is not None and known.dtype == object and len(known) > value.index else None
    if known is None:
        return None
    known = np.asarray(known, dtype=object)
    return known if known.size <= LARGEST else None


def _constant(value: Value) -> Known | None:
    array = value.constant
    assert array is not None
    if array.size > LARGEST or array.dtype.kind not in "iufb":
        return None
    return array.astype(object)


RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register how the results' elements follow from the operands' elements (None for an unknown operand)."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[f"onnx.{name}"] = function
        return function

    return register


def object_array(items: list[object]) -> Known:
    """A vector of arbitrary elements."""
    array = np.empty(len(items), dtype=object)
    for position, item in enumerate(items):
        array[position] = item
    return array


def operand_shape(operation: Operation, position: int) -> tuple[Dim, ...] | None:
    """The shape of an operand if its rank is known."""
    value = operation.operand(position)
    return value.type.shape if value is not None and isinstance(value.type, TensorType) else None
