"""Matches a pattern against the graph, backwards from its root, and keeps the nearest failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np

from optc.ir.core import Operation, Value
from optc.ops.onnx_defaults import schema_of
from optc.passes.rewrite.pattern import (
    COMMUTATIVE,
    ConstantPattern,
    Either,
    OpPattern,
    Pattern,
    ResultPattern,
    Variable,
)

Bindings = Mapping[Pattern, Any]  # a Variable or constant: its Value; an OpPattern: its Operation


class Match:
    """A place where a pattern fits: `match["x"]` is the value of the variable (or of the named operation) `x`."""

    def __init__(self, root: Operation, bindings: Bindings) -> None:
        self.root = root
        self.operations: list[Operation] = []
        self._values: dict[str, Value] = {}
        self._operations: dict[str, Operation] = {}
        for pattern, bound in bindings.items():
            if isinstance(pattern, OpPattern):
                self.operations.append(bound)
                if pattern.name is not None:
                    self._operations[pattern.name] = bound
                    self._values[pattern.name] = bound.results[0]
            elif isinstance(pattern, (Variable, ConstantPattern)) and pattern.name is not None:
                self._values[pattern.name] = bound

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def operation(self, name: str) -> Operation:
        """The operation that the pattern named."""
        return self._operations[name]

    def constant(self, name: str) -> np.ndarray:
        """The array of a value that is known to be a constant."""
        array = self._values[name].constant
        assert array is not None, name
        return array

    def shared(self) -> str | None:
        """Why the intermediate values cannot go away; None when only the match reads them."""
        inside = set(self.operations)
        for operation in self.operations:
            if operation is self.root:
                continue
            for result in operation.results:
                for user in result.users:
                    if user not in inside:
                        name = "the graph's outputs" if user.name == "optc.return" else f"{user.name} {user.location}"
                        return f"'{result.name}' is also read by {name}"
        return None


class Nearest:
    """The failure after the most matched operations."""

    def __init__(self) -> None:
        self.matched = 0
        self.reason = ""

    def note(self, bindings: Bindings, reason: str) -> None:
        matched = sum(isinstance(pattern, OpPattern) for pattern in bindings)
        if matched > self.matched:
            self.matched, self.reason = matched, reason


def matches(pattern: OpPattern, root: Operation, nearest: Nearest) -> Iterator[Match]:
    """All ways in which `pattern` fits with `root` as its last operation; what else there was goes to `nearest`."""
    for bindings in _operation(pattern, root, {}, nearest, root):
        yield Match(root, bindings)


def _value(
    pattern: Pattern | None, value: Value | None, bindings: Bindings, nearest: Nearest, root: Operation
) -> Iterator[Bindings]:
    if pattern is None or value is None:
        if pattern is None and value is None:
            yield bindings
        else:
            nearest.note(bindings, "an optional operand is present" if pattern is None else "an operand is absent")
        return
    if isinstance(pattern, Either):
        for option in pattern.options:
            yield from _value(option, value, bindings, nearest, root)
        return
    if isinstance(pattern, (Variable, ConstantPattern)):
        bound = bindings.get(pattern)
        if bound is not None:
            if bound is value:
                yield bindings
            elif isinstance(pattern, Variable):
                nearest.note(bindings, f"{pattern.name} would be both '{bound.name}' and '{value.name}'")
            return
        if isinstance(pattern, ConstantPattern):
            array = value.constant
            if array is None or not pattern.accepts(array):
                found = "no constant" if array is None else _shown(array)
                nearest.note(bindings, f"'{value.name}' is {found} where {pattern.expected} is expected")
                return
        yield {**bindings, pattern: value}
        return
    index = pattern.index if isinstance(pattern, ResultPattern) else 0
    target = pattern.operation if isinstance(pattern, ResultPattern) else pattern
    assert isinstance(target, OpPattern)
    producer = value.producer
    if producer is None or producer.name != target.kind or value.index != index:
        found = "a graph input" if producer is None else f"made by {producer.name}"
        nearest.note(bindings, f"'{value.name}' is {found} where {target.kind} is expected")
        return
    if target in bindings:
        if bindings[target] is producer:
            yield bindings
        return
    yield from _operation(target, producer, bindings, nearest, root)


def _operation(
    pattern: OpPattern, operation: Operation, bindings: Bindings, nearest: Nearest, root: Operation
) -> Iterator[Bindings]:
    if operation.name != pattern.kind:
        return
    if operation.graph is not root.graph:
        nearest.note(bindings, f"'{operation.results[0].name}' is computed outside this branch or loop body")
        return
    bindings = {**bindings, pattern: operation}
    for name, expected in pattern.attributes.items():
        found = attribute(operation, name)
        if not _same_attribute(expected, found):
            shown = "a suitable value" if callable(expected) else f"{expected}"
            nearest.note(bindings, f"{name} of {operation.name} is {found} where {shown} is expected")
            return
    width = max(len(pattern.operands), len(operation.operands))
    wanted = pattern.operands + (None,) * (width - len(pattern.operands))
    present = operation.operands + (None,) * (width - len(operation.operands))
    orders = permutations(present) if pattern.kind in COMMUTATIVE and width == 2 else [present]
    for order in orders:
        yield from _operands(wanted, tuple(order), bindings, nearest, root)


def _operands(
    patterns: tuple[Pattern | None, ...],
    values: tuple[Value | None, ...],
    bindings: Bindings,
    nearest: Nearest,
    root: Operation,
) -> Iterator[Bindings]:
    if not patterns:
        yield bindings
        return
    for found in _value(patterns[0], values[0], bindings, nearest, root):
        yield from _operands(patterns[1:], values[1:], found, nearest, root)


def attribute(operation: Operation, name: str) -> Any:
    """An attribute, or its default; None where there is neither."""
    if name in operation.attributes:
        return operation.attributes[name]
    return _defaults(operation.name).get(name)


@cache
def _defaults(name: str) -> dict[str, Any]:
    from onnx.helper import get_attribute_value

    try:
        schema = schema_of(name)
    except KeyError:
        return {}
    defaults = {}
    for key, item in schema.attributes.items():
        if item.default_value.name:
            value = get_attribute_value(item.default_value)
            if isinstance(value, bytes):
                value = value.decode()
            defaults[key] = tuple(value) if isinstance(value, list) else value
    return defaults


def _same_attribute(expected: Any, found: Any) -> bool:
    if callable(expected):
        return bool(expected(found))
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return bool(np.isclose(found, expected, rtol=1e-5, atol=0))
    return expected == (tuple(found) if isinstance(found, list) else found)


def _shown(array: np.ndarray) -> str:
    if array.size == 1 and array.dtype.kind in "iuf":
        return f"{array.item():g}"
    return f"a constant of shape {tuple(array.shape)}"
