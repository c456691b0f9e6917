"""Finds attention for the targets that have native code for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Module
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import apply_rules
from optc.passes.simplify.rules.attention import AttentionRule


@dataclass(frozen=True)
class RecognizeAttention(Pass):
    """Make one Attention of products, scale, mask and softmax, so that no scores are stored.

    Expects the canonical forms of `simplify`. What has no native code stays as it is: its parts do better.
    """

    name: ClassVar[str] = "recognize-attention"

    def run(self, module: Module, context: PassContext) -> bool:
        return apply_rules(module, (AttentionRule(context.supports),), context, self.name)
