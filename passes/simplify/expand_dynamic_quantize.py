"""Turns a quantization with a range found at run time into reductions and arithmetic on elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Module, Operation, Value
from optc.ir.types import TensorType
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import Builder, Miss, apply_rules, on

_HIGHEST = 255.0


@dataclass(frozen=True)
class ExpandDynamicQuantize(Pass):
    """Replace DynamicQuantizeLinear of a static shape by ReduceMin, ReduceMax and what gives scale, zero and codes."""

    name: ClassVar[str] = "expand-dynamic-quantize"

    def run(self, module: Module, context: PassContext) -> bool:
        return apply_rules(module, [by_range], context, self.name)


@on("DynamicQuantizeLinear")
def by_range(op: Builder, operation: Operation) -> list[Value] | Miss:
    """The scale is 1 where all elements are zero, as onnxruntime has it."""
    data = operation.operands[0]
    if data is None or not (isinstance(data.type, TensorType) and data.type.is_static):
        return Miss("its shape is known only at run time")
    low = op.Min(op.ReduceMin(data, keepdims=0), 0.0)
    high = op.Max(op.ReduceMax(data, keepdims=0), 0.0)
    span = op.Div(op.Sub(high, low), _HIGHEST)
    scale = op.Where(op.Equal(span, 0.0), op.constant(1.0, span), span)
    zero = op.Round(op.Clip(op.Neg(op.Div(low, scale)), 0.0, _HIGHEST))
    codes = op.Clip(op.Add(op.Round(op.Div(data, scale)), zero), 0.0, _HIGHEST)
    code = operation.results[0].dtype.onnx_code
    return [op.Cast(codes, to=code), scale, op.Cast(zero, to=code)]
