"""Kernels that compute on quantized codes: from the DequantizeLinear of the operands to the QuantizeLinear behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.clone import clone_operation
from optc.ir.core import Module, Operation, Value
from optc.ops.declaration import Kind, declaration_of
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.fusion.build import FUSED, fuse, fused_operation, joined
from optc.passes.quantization.signed_codes import DEQUANTIZE, QUANTIZE

_FOLLOWING = (Kind.ELEMENTWISE,)


@dataclass(frozen=True)
class FuseCodes(Pass):
    """Make one kernel of each operation between codes, where the backend takes it.

    A kernel begins with the DequantizeLinear of each operand (every reader gets its own), holds one operation and the
    element-wise ones that follow it, and ends with QuantizeLinear, or without where reals are wanted. A sum of two
    tensors joins the kernel that makes one of them.
    """

    name: ClassVar[str] = "fuse-codes"

    def run(self, module: Module, context: PassContext) -> bool:
        changed = False
        for operation in list(module.main):
            if operation.graph is not module.main or not _is_anchor(operation):
                continue
            operation_name = operation.name
            members = _members(operation)
            fused = fused_operation(members)
            reason = context.accepts(fused)
            fused.drop_operands()
            if reason is not None:
                context.remarks.append(Remark(self.name, "missed", operation.name, reason, operation.location))
                continue
            kernel = fuse(members)
            context.remarks.append(
                Remark(self.name, "applied", operation.name, f"{len(members)} operations on codes", kernel.location)
            )
            if operation_name == "onnx.Add":
                _join(kernel, context)
            changed = True
        return changed


def _is_anchor(operation: Operation) -> bool:
    """An operation that computes something of dequantized data, and not as part of what stands before it."""
    if operation.name in (QUANTIZE, DEQUANTIZE, FUSED):
        return False
    data = [value for value in operation.present_operands if not value.is_constant]
    return bool(data) and all(value.producer is not None and value.producer.name == DEQUANTIZE for value in data)


def _members(anchor: Operation) -> list[Operation]:
    """The operations of a kernel around its anchor, in order; DequantizeLinear that others read too is cloned."""
    assert anchor.graph is not None
    entering = []
    for position, value in enumerate(anchor.operands):
        producer = None if value is None else value.producer
        if producer is None or producer.name != DEQUANTIZE:
            continue
        assert value is not None
        if len(value.uses) > 1:
            mapping = {each: each for each in producer.present_operands}
            producer = anchor.graph.insert(clone_operation(producer, mapping), anchor)
            anchor.set_operand(position, producer.result)
        entering.append(producer)
    members = [*entering, anchor]
    last = anchor
    while len(last.results) == 1 and len(last.results[0].uses) == 1:
        following = last.results[0].users[0]
        if following.name == QUANTIZE:
            members.append(following)
            break
        if not _is_following(following, last.results[0]):
            break
        members.append(following)
        last = following
    if members[-1].name != QUANTIZE:
        # Without codes at the end only the operation itself, and a bias, surely belong to it.
        end = members.index(anchor) + 1
        with_bias = anchor.name == "onnx.MatMul" and end < len(members) and members[end].name == "onnx.Add"
        members = members[: end + with_bias]
    return members


def _is_following(operation: Operation, value: Value) -> bool:
    """Whether an operation changes each element by itself."""
    others = [each for each in operation.present_operands if each is not value]
    return declaration_of(operation.name).kind in _FOLLOWING and all(each.is_constant for each in others)


def _join(kernel: Operation, context: PassContext) -> None:
    """Let a kernel absorb one that makes an operand for it alone, where the backend takes them as one."""
    for value in kernel.present_operands:
        maker = value.producer
        if maker is None or maker.name != FUSED or len(value.uses) != 1 or len(maker.results) != 1:
            continue
        both = joined([maker, kernel])
        if context.accepts(both) is not None:
            both.drop_operands()
            continue
        assert kernel.graph is not None
        graph = kernel.graph
        graph.insert(both, kernel.next)
        for old, new in zip(kernel.results, both.results, strict=True):
            old.replace_by(new)
        graph.erase(kernel)
        graph.erase(maker)
        return
