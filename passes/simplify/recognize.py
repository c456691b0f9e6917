"""Finds whole operations in what an exporter took apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Module
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import Rule, apply_rules
from optc.passes.simplify.rules import activations, lookups, normalizations, restrictions

RULES: tuple[Rule, ...] = (
    *activations.RULES,
    *normalizations.RULES,
    *restrictions.RULES,
    lookups.OneHotProduct(),
)


@dataclass(frozen=True)
class Recognize(Pass):
    """Recover Gelu, Swish, HardSwish, LayerNormalization, RMSNormalization, Softmax … from their decomposed forms,
    and the table lookup from the product with a one-hot matrix.

    Expects the canonical forms of `canonicalize`, but matches those of the usual exporters as well.
    """

    name: ClassVar[str] = "recognize"

    def run(self, module: Module, context: PassContext) -> bool:
        return apply_rules(module, RULES, context, self.name)
