"""Puts batch normalization, scales and shifts into the weights next to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Module
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import apply_rules
from optc.passes.simplify.rules import affine


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold BatchNormalization and Mul or Add of a constant into the Conv, ConvTranspose or MatMul before or after.

    What meets no weights becomes one Mul and one Add. Number factors of a matrix product without constant weights
    (attention) move behind it and merge. Run `recognize` first: it knows some of these constants by their value.
    """

    name: ClassVar[str] = "fold-batch-norm"

    def run(self, module: Module, context: PassContext) -> bool:
        return apply_rules(module, affine.RULES, context, self.name)
