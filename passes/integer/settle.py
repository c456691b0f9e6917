"""Kernels of integer sums against the same kernels with float sums, timed on the host where it may be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir import dtypes
from optc.ir.clone import clone_graph
from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.printer import canonical_text
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.fusion.build import FUSED
from optc.passes.integer.coding import DEQUANTIZE

_CONTRACTIONS = {"onnx.ConvInteger": "onnx.Conv", "onnx.MatMulInteger": "onnx.MatMul"}
_KEPT = frozenset({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"})


@dataclass(frozen=True)
class SettleIntegers(Pass):
    """Let each kernel with a contraction of integers race against itself with floats in between; the faster one stays.

    Predictions chose the integers; a kernel for them may still do worse than predicted. Both read and write the same
    codes in the same layout. Nothing happens where the host is not measured.

    Attributes:
        least_gain: the share of the integer kernel's time that floats must save.
        max_measured: distinct kernels that are measured, the largest first.
    """

    name: ClassVar[str] = "settle-integers"
    least_gain: float = 0.05
    max_measured: int = 16

    def run(self, module: Module, context: PassContext) -> bool:
        alike: dict[str, list[Operation]] = {}
        for operation in module.main:
            if operation.name == FUSED and _contraction(operation.graphs["body"]) is not None:
                alike.setdefault(canonical_text(operation.graphs["body"]), []).append(operation)
        pairs: list[tuple[Operation, Sequence[Operation]]] = []
        chosen = []
        for same in sorted(alike.values(), key=lambda each: -_size(each[0]))[: self.max_measured]:
            rival = _in_floats(same[0])
            if rival is None or context.accepts(rival) is not None:
                if rival is not None:
                    rival.drop_operands()
                continue
            pairs.append((rival, (same[0],)))
            chosen.append(same)
        times = context.race(pairs) if pairs else None
        for rival, _ in pairs:
            rival.drop_operands()
        if times is None:
            return False
        changed = False
        for same, seconds in zip(chosen, times, strict=True):
            if seconds is not None:
                changed = self._settle(same, *seconds, context) or changed
        return changed

    def _settle(self, same: Sequence[Operation], real: float, integer: float, context: PassContext) -> bool:
        wins = real < (1 - self.least_gain) * integer
        times = f"{1e6 * integer:.1f} µs measured in integers, {1e6 * real:.1f} µs in float"
        reason = f"kept in float: int8 is {integer / real:.2f}x as slow ({times})" if wins else times
        predicted = {"integer_seconds": integer, "float_seconds": real}
        for operation in same:
            status = "missed" if wins else "applied"
            context.remarks.append(Remark(self.name, status, "integer", reason, operation.location, predicted))  # type: ignore[arg-type]
            if wins:
                rival = _in_floats(operation)
                assert rival is not None and operation.graph is not None
                graph = operation.graph
                graph.insert(rival, operation)
                for old, new in zip(operation.results, rival.results, strict=True):
                    old.replace_by(new)
                graph.erase(operation)
        return wins


def _contraction(body: Graph) -> Operation | None:
    """The contraction of integers whose sums are only read as floats."""
    for operation in body:
        if operation.name in _CONTRACTIONS:
            users = operation.result.users
            return operation if [user.name for user in users] == ["onnx.Cast"] else None
    return None


def _size(operation: Operation) -> int:
    contraction = _contraction(operation.graphs["body"])
    assert contraction is not None
    return contraction.result.tensor_type.elements


def _in_floats(operation: Operation) -> Operation | None:
    """The kernel with the codes less their zero point as floats, in no graph; None where its weights are not known."""
    body = clone_graph(operation.graphs["body"])
    contraction = _contraction(body)
    assert contraction is not None
    data, weight, zero = (contraction.operand(position) for position in range(3))
    cast = contraction.result.users[0]
    if data is None or weight is None or contraction.operand(3) is not None or cast.result.dtype.name != "f32":
        return None
    operands = list(operation.operands)
    if weight.constant is not None:
        real: Value = body.constant(weight.constant.astype(np.float32), weight.name, before=contraction)
    else:
        outside = operands[weight.index] if weight in body.inputs and len(weight.uses) == 1 else None
        if outside is None or outside.constant is None or operation.graph is None:
            return None
        operands[weight.index] = operation.graph.constant(outside.constant.astype(np.float32), outside.name)
        weight.type = weight.tensor_type.with_dtype(dtypes.FLOAT32)
        real = weight
    one = body.constant(np.ones((), np.float32), "one", before=contraction)
    points = [] if zero is None else [zero]
    codes = Operation(
        DEQUANTIZE,
        [data, one, *points],
        [data.tensor_type.with_dtype(dtypes.FLOAT32)],
        result_names=[f"{data.name}.real"],
    )
    body.insert(codes, contraction)
    attributes = {name: value for name, value in contraction.attributes.items() if name in _KEPT}
    made = Operation(
        _CONTRACTIONS[contraction.name],
        [codes.result, real],
        [cast.result.tensor_type],
        attributes,
        result_names=[contraction.result.name],
        location=contraction.location,
    )
    body.insert(made, contraction)
    cast.result.replace_by(made.result)
    for each in (cast, contraction):
        body.erase(each)
    for each in list(body):
        if each.name == CONSTANT and not each.result.uses:
            body.erase(each)
    return Operation(
        FUSED,
        operands,
        [value.type for value in operation.results],
        operation.attributes,
        result_names=[value.name for value in operation.results],
        graphs={"body": body},
        location=operation.location,
    )
