"""Range restriction that was written as a comparison and a choice."""

from __future__ import annotations

from optc.ir.core import Value
from optc.ops.restriction import RESTRICT
from optc.passes.rewrite import Builder, Match, PatternRule
from optc.passes.rewrite.pattern import Pattern, PatternBuilder
from optc.passes.simplify.rules.activations import ActivationRule


class Restrict(ActivationRule):
    """where(|x| <= bound, x, 0), which is 0 for NaN too"""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        return op.Where(op.LessOrEqual(op.Abs(x), op.constant("bound")), x, 0)

    def check(self, match: Match) -> str | None:
        refusal = super().check(match)
        if refusal is None and match["x"].tensor_type.shape is None:
            return "the shape of x is not known"
        return refusal

    def rewrite(self, op: Builder, x: Value, bound: Value) -> Value:
        made: Value = op.call(RESTRICT, (x, bound))
        return made


RULES: tuple[PatternRule, ...] = (Restrict(),)
