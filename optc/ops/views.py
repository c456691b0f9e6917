"""Operations that only rename the axes of a tensor: their result can share the storage of their operand."""

from __future__ import annotations

from optc.ir.core import Operation, Value
from optc.ir.types import TensorType

_VIEWS = frozenset({"onnx.Identity", "onnx.Reshape", "onnx.Flatten", "onnx.Squeeze", "onnx.Unsqueeze"})


def is_view(operation: Operation) -> bool:
    """Whether the bytes of the result equal those of the first operand: same elements, same order, both plain."""
    if operation.name not in _VIEWS:
        return False
    source, result = operation.operands[0], operation.results[0]
    if source is None or not isinstance(source.type, TensorType) or not isinstance(result.type, TensorType):
        return False
    plain = source.type.layout.is_plain and result.type.layout.is_plain
    return plain and source.type.is_static and result.type.is_static and source.type.dtype == result.type.dtype


def storage_root(value: Value) -> Value:
    """The value whose storage `value` shares: itself, or the operand at the start of a chain of views."""
    while value.producer is not None and is_view(value.producer):
        operand = value.producer.operands[0]
        assert operand is not None
        value = operand
    return value
