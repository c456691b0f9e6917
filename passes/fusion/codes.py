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
    """The operations of a kernel around its anchor, in order."""
    members = [*_dequantizing(anchor), anchor]
    last = anchor
    while len(last.results) == 1 and len(last.results[0].uses) == 1:
        following = last.results[0].users[0]
        if following.name == QUANTIZE:
            return [*members, following]
        if not _is_following(following, last.results[0]):
            break
        members += [*_dequantizing(following), following]
        last = following
    # Without codes at the end only the operation itself, and a bias, surely belong to it.
    end = members.index(anchor) + 1
    if anchor.name == "onnx.MatMul":
        bias = next((index for index in range(end, len(members)) if members[index].name == "onnx.Add"), None)
        end = end if bias is None or bias > end + 1 else bias + 1
    return members[:end]


def _dequantizing(operation: Operation) -> list[Operation]:
    """The DequantizeLinear of the operands; those that others read too are cloned."""
    assert operation.graph is not None
    found = []
    for position, value in enumerate(operation.operands):
        producer = None if value is None else value.producer
        if value is None or producer is None or producer.name != DEQUANTIZE:
            continue
        if len(value.uses) > 1:
            producer = operation.graph.insert(clone_operation(producer, {}), operation)
            operation.set_operand(position, producer.result)
        found.append(producer)
    return found


def _is_following(operation: Operation, value: Value) -> bool:
    """Whether an operation changes each element by itself."""
    others = [each for each in operation.present_operands if each is not value]
    return declaration_of(operation.name).kind in _FOLLOWING and all(_is_stored(each) for each in others)


def _is_stored(value: Value) -> bool:
    """Whether a value is a constant, or the dequantized form of one."""
    if value.is_constant:
        return True
    maker = value.producer
    return maker is not None and maker.name == DEQUANTIZE and all(each.is_constant for each in maker.present_operands)


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
