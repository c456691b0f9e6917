"""Dimensions of a shape: an int, or a symbolic expression such as `batch` or `2*seq + 1`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sympy


_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class SymbolicDim:
    """A dimension that is known only when the model runs, as a canonical expression over named symbols.

    Two dimensions are equal when their expanded expressions are. Arithmetic with ints and other dimensions
    gives a plain int where the symbols cancel. The algebra is sympy's, which is imported when there is some to do; all
    symbols are positive integers.
    """

    __slots__ = ("_content",)

    def __init__(self, content: sympy.Expr | str) -> None:
        """From an expanded expression, or from the name of a symbol."""
        self._content = content

    @property
    def expression(self) -> sympy.Expr:
        return _symbol(self._content) if isinstance(self._content, str) else self._content

    def __str__(self) -> str:
        return str(self._content)

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SymbolicDim):
            return False
        if isinstance(self._content, str) and isinstance(other._content, str):
            return self._content == other._content
        return bool(self.expression == other.expression)

    def __hash__(self) -> int:
        return hash(str(self))

    def __add__(self, other: Dim) -> Dim:
        return _simplified(self.expression + _expression(other))

    def __sub__(self, other: Dim) -> Dim:
        return _simplified(self.expression - _expression(other))

    def __mul__(self, other: Dim) -> Dim:
        return _simplified(self.expression * _expression(other))

    def __floordiv__(self, other: Dim) -> Dim:
        import sympy

        return _simplified(sympy.floor(self.expression / _expression(other)))

    def __rsub__(self, other: int) -> Dim:
        return _simplified(_expression(other) - self.expression)

    def __rfloordiv__(self, other: int) -> Dim:
        import sympy

        return _simplified(sympy.floor(_expression(other) / self.expression))

    __radd__ = __add__
    __rmul__ = __mul__

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of the symbols that occur, sorted."""
        if isinstance(self._content, str):
            return (self._content,)
        return tuple(sorted(symbol.name for symbol in self.expression.free_symbols))

    def bind(self, values: Mapping[str, int]) -> Dim:
        """Replace symbols by ints; the result is an int when none is left."""
        if isinstance(self._content, str):
            return values.get(self._content, self)
        return _simplified(self.expression.subs({_symbol(name): value for name, value in values.items()}))


Dim = int | SymbolicDim
Shape = tuple[Dim, ...]


@lru_cache(maxsize=4096)
def _symbol(name: str) -> sympy.Symbol:
    import sympy

    return sympy.Symbol(name, integer=True, positive=True)


def _expression(dim: Dim) -> sympy.Expr:
    import sympy

    if isinstance(dim, SymbolicDim):
        return dim.expression
    if not isinstance(dim, int):
        raise TypeError(f"{dim!r} is no extent")
    return sympy.Integer(dim)


def _simplified(expression: sympy.Expr) -> Dim:
    import sympy

    expression = sympy.expand(expression)
    return int(expression) if expression.is_Integer else SymbolicDim(expression)


def symbol(name: str) -> SymbolicDim:
    """The dimension called `name`; characters that the text form cannot hold become underscores."""
    clean = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    return SymbolicDim(clean if clean[0].isalpha() or clean[0] == "_" else f"_{clean}")


def parse_dim(text: str) -> Dim:
    """Read what `str(dim)` printed, for instance `3`, `batch` or `floor(seq/2) + 1`.

    Raises:
        ValueError: the text is no arithmetic expression over names and integers.
    """
    if _NAME.fullmatch(text):
        return SymbolicDim(text)
    from optc.ir.dim_parser import parse_expression

    dim = _simplified(parse_expression(text, _symbol))
    if isinstance(dim, SymbolicDim) and not dim.symbols:
        raise ValueError(f"'{text}' is no whole number")
    return dim


def product(dims: Shape) -> Dim:
    """The product of dimensions; 1 for an empty shape."""
    result: Dim = 1
    for dim in dims:
        result = result * dim
    return result


def is_static(shape: Shape | None) -> bool:
    """Whether the rank and every dimension are known ints."""
    return shape is not None and all(isinstance(dim, int) for dim in shape)
