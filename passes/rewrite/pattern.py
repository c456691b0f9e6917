"""What a pattern is made of: variables, constants and operations, built by the same calls that build operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Union

import numpy as np

Operand = Union["Pattern", int, float, None]
Predicate = Callable[[np.ndarray], bool]

COMMUTATIVE = frozenset(f"onnx.{name}" for name in ("Add", "Mul", "And", "Or", "Xor", "Equal", "Max", "Min"))


class Pattern:
    """Matches one value. `*`, `+`, `-` and `/` between patterns mean Mul, Add, Sub and Div."""

    def __add__(self, other: Operand) -> OpPattern:
        return OpPattern("onnx.Add", [self, other])

    def __radd__(self, other: Operand) -> OpPattern:
        return OpPattern("onnx.Add", [other, self])

    def __mul__(self, other: Operand) -> OpPattern:
        return OpPattern("onnx.Mul", [self, other])

    def __rmul__(self, other: Operand) -> OpPattern:
        return OpPattern("onnx.Mul", [other, self])

    def __sub__(self, other: Operand) -> OpPattern:
        return OpPattern("onnx.Sub", [self, other])

    def __rsub__(self, other: Operand) -> OpPattern:
        return OpPattern("onnx.Sub", [other, self])

    def __truediv__(self, other: Operand) -> OpPattern:
        return OpPattern("onnx.Div", [self, other])

    def __rtruediv__(self, other: Operand) -> OpPattern:
        return OpPattern("onnx.Div", [other, self])


class Variable(Pattern):
    """Any value; the same value at every place where it stands."""

    def __init__(self, name: str) -> None:
        self.name = name


class ConstantPattern(Pattern):
    """A constant, of a given value in all elements (relative tolerance), or one that satisfies a predicate.

    The tolerance admits a decimal that was rounded to the tensor's own type, and no other number.
    """

    def __init__(self, value: float | None, name: str | None, where: Predicate | None, expected: str) -> None:
        self.value = value
        self.name = name
        self.where = where
        self.expected = expected

    def accepts(self, array: np.ndarray) -> bool:
        if self.value is not None:
            if array.size == 0 or array.dtype.kind not in "iufV":
                return False
            tolerance = {2: 2e-3, 4: 1e-5}.get(array.dtype.itemsize, 1e-6) if array.dtype.kind != "i" else 0.0
            return bool(np.allclose(array.astype(np.float64), self.value, rtol=tolerance, atol=0))
        return self.where is None or bool(self.where(array))


class OpPattern(Pattern):
    """The (first) result of an operation. Attributes that are not named may be anything.

    `named` gives the operation a name, for `match.operation(name)` and `match[name]`.
    """

    def __init__(self, kind: str, operands: Sequence[Operand], attributes: dict[str, Any] | None = None) -> None:
        self.kind = kind
        self.operands = tuple(constant(item) if isinstance(item, (int, float)) else item for item in operands)
        self.attributes = attributes or {}
        self.name: str | None = None

    def named(self, name: str) -> OpPattern:
        self.name = name
        return self

    def result(self, index: int) -> ResultPattern:
        """Another result of the same operation."""
        return ResultPattern(self, index)

    def operations(self) -> list[OpPattern]:
        """All distinct operations of this pattern, this one first; of alternatives, those of the first."""
        found: dict[OpPattern, None] = {}
        waiting: list[Pattern | None] = [self]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Either):
                item = item.options[0]
            if isinstance(item, ResultPattern):
                item = item.operation
            if isinstance(item, OpPattern) and item not in found:
                found[item] = None
                waiting += item.operands
        return list(found)


class ResultPattern(Pattern):
    """One of several results of an operation."""

    def __init__(self, operation: OpPattern, index: int) -> None:
        self.operation = operation
        self.index = index


class Either(Pattern):
    """The first of several patterns that matches."""

    def __init__(self, options: Sequence[Pattern]) -> None:
        self.options = tuple(options)


def constant(
    value: float | str | None = None, *, where: Predicate | None = None, expected: str | None = None
) -> ConstantPattern:
    """A constant: `constant(0.5)` by value, `constant("scale")` of any value under a name, either with a predicate.

    Args:
        value: the value of every element, or the name under which the array is found in the match.
        where: what the array must satisfy.
        expected: how the predicate is called in a remark, for instance `a scalar`.
    """
    name = value if isinstance(value, str) else None
    number = None if value is None or isinstance(value, str) else float(value)
    shown = expected or ("a constant" if number is None else f"{number:g}")
    return ConstantPattern(number, name, where, shown)


class PatternBuilder:
    """The `op` that a pattern function gets."""

    constant = staticmethod(constant)

    def __getattr__(self, op_type: str) -> Callable[..., OpPattern]:
        if op_type.startswith("_"):
            raise AttributeError(op_type)

        def make(*operands: Operand, **attributes: Any) -> OpPattern:
            return OpPattern(f"onnx.{op_type}", operands, attributes)

        return make

    @staticmethod
    def either(*options: Pattern) -> Either:
        return Either(options)
