"""Evaluates at compile time what depends on constants alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from optc.ir import dtypes
from optc.ir.core import CONSTANT, Location, Module, Operation
from optc.ir.types import TensorType
from optc.ops.declaration import Kind, declaration_of
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.rewrite.types import propagate_types

# The integer weights of a quantized model stay integers: folding this would undo the quantization.
_KEPT = frozenset({"onnx.DequantizeLinear"})


@dataclass(frozen=True)
class Fold(Pass):
    """Replace operations on constants by their result.

    Never folded: random generators, DequantizeLinear of stored weights, text, operations with nested graphs, and
    anything that would bring a NaN into the model that no constant held before.

    Options:
        max_growth: bytes by which results may be larger than operands (a big Expand or ConstantOfShape stays).
        max_flops: floating-point operations that one folding may take.
    """

    name: ClassVar[str] = "fold"

    max_growth: int = 1 << 20
    max_flops: int = 1 << 30

    def run(self, module: Module, context: PassContext) -> bool:
        folding = _Folding(self)
        for operation in list(module.walk()):
            folding.fold(operation)
        context.remarks.extend(folding.remarks())
        return bool(folding.folded)


@dataclass
class _Folding:
    options: Fold
    folded: list[Location] = field(default_factory=list)
    missed: tuple[str, Location] | None = None

    def fold(self, operation: Operation) -> None:
        if operation.name == CONSTANT or operation.name in _KEPT or operation.graphs or not operation.results:
            return
        if not all(value.is_constant for value in operation.present_operands):
            return
        declaration = declaration_of(operation.name)
        if not declaration.deterministic or declaration.kind is Kind.CONTROL or not operation.name.startswith("onnx."):
            return
        reason = self.too_big(operation) or self.evaluate(operation)
        if reason is not None and self.missed is None:
            self.missed = reason, operation.location

    def too_big(self, operation: Operation) -> str | None:
        types = [result.type for result in operation.results]
        if not all(isinstance(type, TensorType) and type.is_static for type in types):
            sizes = [value.constant.size for value in operation.present_operands if value.constant is not None]
            return None if max(sizes, default=0) <= 1024 else "the size of its result is not known before it runs"
        # A weight that is transposed may be kept in both forms; what is spread out from little may not.
        grown = sum(result.tensor_type.bytes for result in operation.results)
        grown -= sum(value.tensor_type.bytes for value in operation.present_operands)
        if grown > self.options.max_growth:
            limit = f"max-growth = {self.options.max_growth}"
            return f"its results are {grown} bytes larger than its operands, above {limit}"
        flops = declaration_of(operation.name).flops(operation)
        if flops > self.options.max_flops:
            return f"it takes {flops} operations, which is above max-flops = {self.options.max_flops}"
        return None

    def evaluate(self, operation: Operation) -> str | None:
        operands = [None if value is None else value.constant for value in operation.operands]
        try:
            with np.errstate(all="ignore"):
                arrays = declaration_of(operation.name).evaluate(operation, operands)
        except Exception as error:  # whatever a reference implementation raises, the operation can still run later
            return f"its reference implementation fails: {error}"
        arrays = [np.asarray(array) for array in arrays]
        had_nan = any(_has_nan(array) for array in operands if array is not None)
        for result, array in zip(operation.results, arrays, strict=True):
            if array.dtype.kind in "OUS":
                return "it gives text"
            if not isinstance(result.type, TensorType) or result.type.dtype != dtypes.from_numpy(array.dtype):
                return f"its reference implementation gives {array.dtype} where {result.type} is expected"
            if not had_nan and _has_nan(array):
                return "its result holds a NaN, and its operands hold none"
        replace_by_constants(operation, arrays)
        self.folded.append(operation.location)
        return None

    def remarks(self) -> list[Remark]:
        found = []
        if self.folded:
            nodes = tuple(dict.fromkeys(node for location in self.folded for node in location.nodes))
            what = f"{len(self.folded)} operation{'s' if len(self.folded) > 1 else ''} on constants"
            found.append(Remark("fold", "applied", "fold", what, Location(nodes)))
        if self.missed is not None:
            found.append(Remark("fold", "missed", "fold", *self.missed))
        return found


def replace_by_constants(operation: Operation, arrays: list[np.ndarray]) -> None:
    """Put constants in the place of an operation; they keep the names of its results and its location."""
    assert operation.graph is not None
    sharper = []
    for result, array in zip(operation.results, arrays, strict=True):
        constant = operation.graph.constant(array, result.name, before=operation)
        assert constant.producer is not None
        constant.producer.location = operation.location
        if constant.type != result.type:
            sharper.append(constant)
        result.replace_by(constant)
    operation.graph.erase(operation)
    propagate_types(sharper)


def _has_nan(array: np.ndarray) -> bool:
    return array.dtype.kind in "fc" and bool(np.isnan(array).any())
