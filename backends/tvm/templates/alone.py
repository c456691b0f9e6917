"""Kernels of operations that share a kernel with nothing: what such a group holds, and its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import input_buffers, output_buffers, static_refusal
from optc.backends.tvm.group import Group
from optc.ir.core import CONSTANT, Operation, Value

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, PrimFunc, Stmt


def alone_refusal(group: Group, *names: str) -> str | None:
    """Why a group is not one of these operations by itself, on plain static tensors; None when it is."""
    if (others := [each.name for each in group.body if each.name not in (CONSTANT, *names)]) or not len(group.body):
        return f"{others[0]} is not {' or '.join(names)}" if others else "it is empty"
    if sum(each.name in names for each in group.body) != 1:
        return f"not one {' or '.join(names)}"
    for value in (*group.body.inputs, *group.body.outputs):
        if value.tensor_type.layout.blocks or value.tensor_type.layout.permutation:
            return f"'{value.name}' has a layout of its own"
    return static_refusal(group)


def operation_of(group: Group) -> Operation:
    """The operation that is no constant."""
    return next(each for each in group.body if each.name != CONSTANT)


class Alone:
    """The parameters of the kernel of one operation.

    Attributes:
        operation: the one that is no constant.
        inputs, outputs: a buffer for each input and output of the group.
    """

    def __init__(self, group: Group, packed: Mapping[int, Sequence[int]] | None = None) -> None:
        """`packed` gives the shapes of constant inputs that are stored in another form than their type says."""
        self.operation = operation_of(group)
        self.inputs, self.outputs = input_buffers(group, packed or {}), output_buffers(group)
        self._body = group.body
        self._results = dict(zip(group.body.outputs, self.outputs, strict=True))

    def result(self, position: int) -> Buffer | None:
        """Where a result goes; None when nobody reads it."""
        results = self.operation.results
        return self._results.get(results[position]) if position < len(results) else None

    def value(self, position: int) -> Value:
        """An operand that must be there."""
        value = self.operation.operands[position]
        assert value is not None
        return value

    def read(self, position: int, *indices: Any) -> PrimExpr:
        """An element of an operand: of an input, or of a constant of one element that stands in the body."""
        value = self.value(position)
        if value.owner is self._body:
            return self.inputs[value.index][indices or (0,)]
        assert value.constant is not None and value.constant.size == 1
        return loops.constant(value.constant.reshape(-1)[0].item(), value.dtype.numpy_name)

    def function(self, body: Stmt) -> PrimFunc:
        """The kernel."""
        from tvm import tirx

        return tirx.PrimFunc([*self.inputs, *self.outputs], body)
