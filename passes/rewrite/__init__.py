"""Rewriting by rules that read like the rewrite they make.

    class Swish(PatternRule):
        def pattern(self, op, x):
            return op.Mul(x, op.Sigmoid(x))

        def rewrite(self, op, x):
            return op.Swish(x)

`apply_rules(module, rules, context, pass_name)` applies rules to a fixed point and leaves one remark per rule that was
applied and one per rule that nearly was.
"""

from optc.passes.rewrite.builder import Builder
from optc.passes.rewrite.driver import apply_rules
from optc.passes.rewrite.matching import Match
from optc.passes.rewrite.rules import Miss, OperationRule, PatternRule, Rule, on

__all__ = ["Builder", "Match", "Miss", "OperationRule", "PatternRule", "Rule", "apply_rules", "on"]
