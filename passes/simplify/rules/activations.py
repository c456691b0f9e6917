"""Activations that were taken apart: GELU, SiLU, HardSwish, Mish …"""

from __future__ import annotations

import numpy as np

from optc.ir.core import Value
from optc.ir.types import TensorType
from optc.passes.rewrite import Builder, Match, PatternRule
from optc.passes.rewrite.pattern import Either, Pattern, PatternBuilder
from optc.passes.simplify.facts import scalar

_SIXTH = 1 / 6


def halved_product(op: PatternBuilder, x: Pattern, factor: Pattern) -> Either:
    """0.5 · x · factor, in any order of the two products."""
    return op.either(op.Mul(x * 0.5, factor), op.Mul(x * factor, 0.5), op.Mul(x, factor * 0.5))


class ActivationRule(PatternRule):
    """A rule for reals, whose constants do not widen the result beyond the shape of x."""

    def check(self, match: Match) -> str | None:
        x, root = match["x"].type, match.root.result.type
        if not isinstance(x, TensorType) or not x.dtype.is_float:
            return "it is no arithmetic on reals"
        return None if x == root else f"its result is a {root}, and x is a {x}"


class GeluErf(ActivationRule):
    """0.5 · x · (1 + erf(x / √2))"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        scaled = op.either(x * float(np.sqrt(0.5)), x / float(np.sqrt(2)))
        return halved_product(op, x, op.Erf(scaled) + 1)

    def rewrite(self, op: Builder, x: Value) -> Value:
        return op.Gelu(x)


class GeluTanh(ActivationRule):
    """0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        outer, inner = float(np.sqrt(2 / np.pi)), 0.044715
        square = op.either(op.Mul(x, x), op.Pow(x, 2))
        cube = op.either(op.Pow(x, 3) * inner, op.Mul(square, x) * inner, x * (x * (x * inner)))
        argument = op.either((x + cube) * outer, (x * outer) * (square * inner + 1))
        return halved_product(op, x, op.Tanh(argument) + 1)

    def rewrite(self, op: Builder, x: Value) -> Value:
        return op.Gelu(x, approximate="tanh")


class Swish(ActivationRule):
    """x · sigmoid(x), also called SiLU"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        return x * op.Sigmoid(x)

    def rewrite(self, op: Builder, x: Value) -> Value:
        return op.Swish(x)


class ScaledSwish(ActivationRule):
    """x · sigmoid(αx); α = 1.702 is called the quick GELU"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        return x * op.Sigmoid(x * op.constant("alpha", where=lambda array: array.size == 1, expected="a number"))

    def rewrite(self, op: Builder, x: Value, match: Match) -> Value:
        return op.Swish(x, alpha=float(match.constant("alpha").item()))


class Mish(ActivationRule):
    """x · tanh(log(1 + exp(x)))"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        return x * op.Tanh(op.Softplus(x))

    def rewrite(self, op: Builder, x: Value) -> Value:
        return op.Mish(x)


class Softplus(ActivationRule):
    """log(1 + exp(x))"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        return op.Log(op.Exp(x) + 1)

    def rewrite(self, op: Builder, x: Value) -> Value:
        return op.Softplus(x)


class Sigmoid(ActivationRule):
    """1 / (1 + exp(-x))"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        below = op.Exp(op.either(op.Neg(x), x * -1)) + 1
        return op.either(op.Reciprocal(below), op.Div(op.constant(1), below))

    def rewrite(self, op: Builder, x: Value) -> Value:
        return op.Sigmoid(x)


class HardSigmoid(ActivationRule):
    """clip(x + 3, 0, 6) / 6"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        clamped = op.Clip(x + 3, 0, 6)
        return op.either(clamped * _SIXTH, clamped / 6)

    def rewrite(self, op: Builder, x: Value) -> Value:
        return op.HardSigmoid(x, alpha=_SIXTH, beta=0.5)


class HardSigmoidOfLine(ActivationRule):
    """clip(αx + β, 0, 1)"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        return op.Clip(x * op.constant("alpha") + op.constant("beta"), 0, 1)

    def check(self, match: Match) -> str | None:
        numbers = scalar(match["alpha"]), scalar(match["beta"])
        return super().check(match) if None not in numbers else "its slope and offset are no numbers"

    def rewrite(self, op: Builder, x: Value, alpha: Value, beta: Value) -> Value:
        return op.HardSigmoid(x, alpha=float(scalar(alpha) or 0), beta=float(scalar(beta) or 0))


class HardSwish(ActivationRule):
    """x · clip(x + 3, 0, 6) / 6"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        product = x * op.Clip(x + 3, 0, 6)
        return op.either(
            x * op.HardSigmoid(x, alpha=_SIXTH, beta=0.5),
            product * _SIXTH,
            product / 6,
            op.Mul(x * _SIXTH, op.Clip(x + 3, 0, 6)),
        )

    def rewrite(self, op: Builder, x: Value) -> Value:
        return op.HardSwish(x)


RULES = (
    GeluErf(),
    GeluTanh(),
    Softplus(),
    Sigmoid(),
    Mish(),
    Swish(),
    ScaledSwish(),
    HardSigmoid(),
    HardSigmoidOfLine(),
    HardSwish(),
)
