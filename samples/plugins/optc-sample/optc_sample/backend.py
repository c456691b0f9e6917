"""A backend: TVM's, which leaves products of large matrices to onnxruntime."""

from __future__ import annotations

from optc.backends.tvm.backend import TvmBackend
from optc.ir.core import Operation
from optc.targets.target import Target

MOST_WEIGHTS = 1024


class SmallKernels(TvmBackend):
    """See `KernelBackend` in backends/interface.py for all that a backend can decide."""

    name = "small-kernels"

    def supports(self, operation: Operation, target: Target) -> str | None:
        """None where the backend has native code, else the reason, which the artifact repeats."""
        weights = operation.operands[1] if operation.name in ("onnx.MatMul", "onnx.Gemm") else None
        if weights is not None and weights.tensor_type.elements > MOST_WEIGHTS:
            return f"its weights are more than {MOST_WEIGHTS} elements"
        return super().supports(operation, target)
