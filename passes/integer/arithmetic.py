"""Compute with codes what a model in QDQ or QOperator form says of reals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from optc.ir.core import Graph, Module, Operation
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.integer import movement, operands, operators, scales
from optc.passes.integer.coding import DEQUANTIZE, QUANTIZE
from optc.passes.integer.contractions import IntegerForm, constant_reals, integer_form
from optc.passes.integer.pricing import prices
from optc.passes.integer.unsigned import retype
from optc.passes.rewrite import Builder, Miss, apply_rules
from optc.passes.simplify.dce import erase_dead
from optc.passes.simplify.fold import Fold, replace_by_constants
from optc.passes.simplify.rules.contractions import gemm_as_matmul
from optc.passes.simplify.simplify import Simplify

_RULES = (*operators.RULES, gemm_as_matmul, *movement.RULES, *operands.RULES)
_CODED = frozenset(
    {QUANTIZE, DEQUANTIZE, *(root for rule in (*operators.RULES, *operands.RULES) for root in rule.roots)}
)


@dataclass(frozen=True)
class IntegerArithmetic(Pass):
    """Rewrite quantized models so that codes stay codes and sums are integers.

    QLinear operations become DequantizeLinear, an operation on reals and QuantizeLinear. Movements, pooling of the
    largest and joins then work on codes; a Relu that the range of the codes contains goes. A Conv or MatMul of codes
    and constant codes becomes a ConvInteger or MatMulInteger of unsigned data and signed symmetric weights, with scale
    and bias behind it, where the cost model predicts that to be faster; a model's own get the same form. What is left
    of constant codes becomes floats.
    """

    name: ClassVar[str] = "integer-arithmetic"

    def run(self, module: Module, context: PassContext) -> bool:
        if not any(operation.name in _CODED for operation in module.walk()):
            return False
        changed = False
        while apply_rules(module, _RULES, context, self.name):
            changed = True
            if not Fold().run(module, PassContext()):
                break
        for graph in _graphs(module):
            changed = retype(graph) or changed
        for operation in list(module.walk()):
            changed = self._contraction(operation, context) or changed
        changed = apply_rules(module, scales.RULES, context, self.name) or changed
        changed = self._fold_constants(module, context) or changed
        changed = erase_dead(module.main) or changed
        if changed:
            Simplify().run(module, context)
        return changed

    def _contraction(self, operation: Operation, context: PassContext) -> bool:
        form = integer_form(operation)
        if form is None:
            return False
        if isinstance(form, Miss):
            context.remarks.append(self._kept(operation, form.reason))
            return False
        found = None
        if context.target is not None and context.cost_model is not None:
            found = prices(form, context.cost_model, context.target)
        if found is not None and found.integer >= found.real:
            times = found.integer / found.real
            remark = self._kept(operation, f"int8 would be {times:.2f}x as slow ({found.text})")
            context.remarks.append(replace(remark, predicted=found.seconds))
            return False
        self._replace(operation, form)
        reason = "its data and weights are codes" if found is None else found.text
        seconds = {} if found is None else found.seconds
        context.remarks.append(Remark(self.name, "applied", "integer", reason, operation.location, seconds))
        return True

    def _kept(self, operation: Operation, reason: str) -> Remark:
        return Remark(self.name, "missed", "integer", f"kept in float: {reason}", operation.location)

    def _replace(self, operation: Operation, form: IntegerForm) -> None:
        builder = Builder(operation)
        value = form.build(builder)
        value.name = operation.result.name
        for made in builder.created:
            made.location = operation.location
        operation.result.replace_by(value)
        assert operation.graph is not None
        operation.graph.erase(operation)

    def _fold_constants(self, module: Module, context: PassContext) -> bool:
        """What still reads constant codes as reals reads the reals."""
        erase_dead(module.main)
        grown = 0
        for operation in list(module.walk()):
            reals = constant_reals(operation)
            if reals is not None:
                replace_by_constants(operation, [reals])
                grown += 1
        if grown:
            tensors = "tensor of constants that is" if grown == 1 else "tensors of constants that are"
            reason = f"{grown} {tensors} used as floats"
            context.remarks.append(Remark(self.name, "applied", "constants", reason))
        return bool(grown)


def _graphs(module: Module) -> Iterator[Graph]:
    yield module.main
    for operation in module.walk():
        yield from operation.graphs.values()
