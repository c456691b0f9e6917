"""Brings what can be written in several ways into one form, and removes what does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Module
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import apply_rules
from optc.passes.simplify.rules import arithmetic, contractions, identities, lookups, recurrent, views

RULES = (*identities.RULES, *views.RULES, *arithmetic.RULES, *contractions.RULES, *lookups.RULES, *recurrent.RULES)


@dataclass(frozen=True)
class Canonicalize(Pass):
    """Remove operations without effect and bring the rest into the form that later passes expect.

    The canonical forms: Reshape for Flatten, Squeeze and Unsqueeze; one Reshape or Transpose for a chain of them;
    Reshape for a Transpose that moves unit axes only; Add and Mul of a constant for Sub and Div; Relu for a Clip at
    zero; `MatMul + Add` for Gemm; Conv with pads for Pad + Conv; Slice for a Gather of one
    known index.
    """

    name: ClassVar[str] = "canonicalize"

    def run(self, module: Module, context: PassContext) -> bool:
        return apply_rules(module, RULES, context, self.name)
