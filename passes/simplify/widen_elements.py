"""Computes in single precision what neither native code nor onnxruntime computes in a narrower type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Module, Operation, Value
from optc.ir.dtypes import FLOAT32
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import declared
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import Builder, Miss, OperationRule, apply_rules

# They convert, or take their result's type from an attribute.
_TYPED = frozenset({"onnx.Cast", "onnx.CastLike", "onnx.ConstantOfShape", "onnx.EyeLike", "onnx.BitCast"})
_NARROW_EVERYWHERE = frozenset({"bf16"})
_NARROW = {"onnx.Range": frozenset({"bf16", "f16"})}


@dataclass(frozen=True)
class WidenElements(Pass):
    """Replace `op(x: bf16)` without native code by `Cast(op(Cast(x)))` in f32.

    onnxruntime's CPU provider has hardly any kernel for bfloat16. The result is rounded once, as bfloat16 kernels that
    accumulate in single precision do.
    """

    name: ClassVar[str] = "widen-elements"

    def run(self, module: Module, context: PassContext) -> bool:
        def widen(op: Builder, operation: Operation) -> Sequence[Value] | Miss | None:
            values = [*operation.present_operands, *operation.results]
            narrow = _NARROW.get(operation.name, _NARROW_EVERYWHERE)
            if operation.graphs or not any(_is_narrow(value.type, narrow) for value in values):
                return None
            if not all(isinstance(value.type, TensorType) for value in values) or context.supports(operation) is None:
                return None
            operands = [_cast(op, value, narrow) for value in operation.operands]
            made = op.clone(operation, operands)
            results = made if isinstance(made, tuple | list) else [made]
            if any(_is_narrow(result.type, narrow) for result in results):
                return Miss("its result does not follow the type of its operands")
            return [
                op.Cast(result, to=old.dtype.onnx_code) if _is_narrow(old.type, narrow) else result
                for result, old in zip(results, operation.results, strict=True)
            ]

        rule = OperationRule("widen", frozenset(declared()) - _TYPED, widen)
        return apply_rules(module, [rule], context, self.name)


def _is_narrow(kind: ValueType, narrow: frozenset[str]) -> bool:
    return isinstance(kind, TensorType) and kind.dtype.name in narrow


def _cast(op: Builder, value: Value | None, narrow: frozenset[str]) -> Value | None:
    if value is None or not _is_narrow(value.type, narrow):
        return value
    return op.Cast(value, to=FLOAT32.onnx_code)
