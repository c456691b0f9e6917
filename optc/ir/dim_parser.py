"""Reads the arithmetic of symbolic dimensions: `+ - * / **`, parentheses, `floor(…)` and `ceiling(…)`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sympy

_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_][A-Za-z0-9_]*)|(\*\*|[-+*/()]))")
MAX_EXPONENT = 64
MAX_DIGITS = 18


def parse_expression(text: str, symbol: Callable[[str], sympy.Symbol]) -> sympy.Expr:
    """The expression that `text` denotes; `symbol` makes the symbol of a name.

    Raises:
        ValueError: the text is no such arithmetic.
    """
    tokens, position = [], 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise ValueError(f"'{stripped[position:].lstrip()[0]}' has no place in a dimension")
        tokens.append(match.group().strip())
        position = match.end()
    reader = _Reader(tokens, symbol)
    expression = reader.sum()
    if reader.next:
        raise ValueError(f"'{reader.next}' has no place here in the dimension '{text}'")
    return expression


class _Reader:
    """Recursive descent, one method a precedence level."""

    def __init__(self, tokens: list[str], symbol: Callable[[str], sympy.Symbol]) -> None:
        self.tokens = tokens[::-1]
        self.symbol = symbol

    @property
    def next(self) -> str:
        return self.tokens[-1] if self.tokens else ""

    def accept(self, *choices: str) -> str:
        return self.tokens.pop() if self.next in choices else ""

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise ValueError(f"expected '{token}' in a dimension" + (f", got '{self.next}'" if self.next else ""))

    def sum(self) -> sympy.Expr:
        left = self.product()
        while operator := self.accept("+", "-"):
            right = self.product()
            left = left + right if operator == "+" else left - right
        return left

    def product(self) -> sympy.Expr:
        left = self.signed()
        while operator := self.accept("*", "/"):
            right = self.signed()
            if operator == "/" and right == 0:
                raise ValueError("a dimension is divided by zero")
            left = left * right if operator == "*" else left / right
        return left

    def signed(self) -> sympy.Expr:
        return -self.signed() if self.accept("-") else self.power()

    def power(self) -> sympy.Expr:
        base = self.atom()
        if self.accept("**"):
            exponent = self.tokens.pop() if self.tokens else ""
            if not exponent.isdigit() or int(exponent) > MAX_EXPONENT:
                raise ValueError(f"an exponent is a number up to {MAX_EXPONENT}, not '{exponent}'")
            return base ** int(exponent)
        return base

    def atom(self) -> sympy.Expr:
        import sympy

        if not self.next:
            raise ValueError("a dimension ends too early")
        token = self.tokens.pop()
        if token.isdigit():
            if len(token) > MAX_DIGITS:
                raise ValueError(f"a number in a dimension has at most {MAX_DIGITS} digits")
            return sympy.Integer(token)
        if token in ("floor", "ceiling") and self.accept("("):
            inner = self.sum()
            self.expect(")")
            return getattr(sympy, token)(inner)
        if token == "(":
            inner = self.sum()
            self.expect(")")
            return inner
        if not (token[0].isalpha() or token[0] == "_"):
            raise ValueError(f"'{token}' has no place here in a dimension")
        return self.symbol(token)
