"""Which operations the CUDA backend has native code for. Imports no TVM."""

from __future__ import annotations

from optc.backends.tvm import capability
from optc.ir.core import Operation
from optc.ops.recurrence import RECURRENCE

_WITHOUT_KERNEL = frozenset({"onnx.ScatterElements", "onnx.ScatterND", "onnx.TopK", RECURRENCE})
"""What the tvm backend has templates for, and this one none."""


def supports(operation: Operation) -> str | None:
    """None where there is native code for the operation, else the reason why not."""
    return "GPUs have no kernel for it" if operation.name in _WITHOUT_KERNEL else capability.supports(operation)
