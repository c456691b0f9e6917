"""The fallback regions as ONNX models that onnxruntime has been seen to accept."""

from __future__ import annotations

from collections.abc import Callable

from optc.backends.onnx.emission import emit
from optc.driver.program.assembly import Assembly
from optc.errors import ModelError, OptcError
from optc.ir.core import Operation
from optc.ir.types import TensorType
from optc.program import FallbackCall, fallback_calls
from optc.runtime.ort_session import first_line, open_session


def emit_regions(assembly: Assembly) -> dict[str, bytes]:
    """The model of each region by the name of its file.

    Raises:
        ModelError: onnxruntime has no kernel for something in a region, refuses it, or gives it another meaning than
            ONNX does; says also why there is no native code.
    """
    models = {}
    for call, draft in zip(fallback_calls(assembly.program), assembly.regions, strict=True):
        for operation in draft.region.operations:
            _refuse_contested(operation)
        models[call.model] = emit(draft.region.operations, draft.inputs, draft.outputs, assembly.names)
        _check(models[call.model], call)
    return models


def _check(model: bytes, call: FallbackCall) -> None:
    try:
        # Without optimizations onnxruntime still looks for every kernel, and little else.
        open_session(model, purpose="a part of the model falls back to", threads=1, optimizations="none")
    except OptcError:
        raise
    except Exception as fault:  # onnxruntime's exceptions have no common base
        raise ModelError(
            "neither native code nor onnxruntime can run a part of the model",
            where=call.label,
            why=f"native code: {call.reason}; onnxruntime: {first_line(fault)}",
            hint="export the model with operations and element types that onnxruntime's CPU provider knows",
        ) from fault


def _refuse_contested(operation: Operation) -> None:
    reason = _CONTESTED.get(operation.name, _undisputed)(operation)
    if reason is not None:
        raise ModelError(
            "ONNX and onnxruntime disagree about what an operation computes",
            where=f"{operation.name} {operation.location}",
            why=reason,
            hint="export the model with constant sizes instead",
        )


def _undisputed(_: Operation) -> str | None:
    return None


def _max_unpool(operation: Operation) -> str | None:
    """ONNX's tests unpool to the size that the attributes imply and pad; onnxruntime unpools to the given size."""
    if operation.operand(2) is None:
        return None
    return "its indices count in the shape that the attributes imply, or in the given output_shape"


def _resize(operation: Operation) -> str | None:
    """With align_corners ONNX's tests divide by the exact scaled length less 1, onnxruntime by the rounded one."""
    data, scales = operation.operands[0], operation.operand(2)
    if operation.attributes.get("coordinate_transformation_mode") != "align_corners" or scales is None or data is None:
        return None
    if scales.constant is None or not isinstance(data.type, TensorType) or not data.type.is_static:
        return "its corners are aligned, and scales that only the run knows may give a length that is no whole number"
    axes = operation.attributes.get("axes")
    extents = [data.shape[axis] for axis in axes] if isinstance(axes, tuple) and axes else data.shape  # type: ignore[index]
    lengths = [extent * scale for extent, scale in zip(extents, scales.constant.tolist(), strict=True)]
    if all(abs(length - round(length)) < 1e-3 for length in lengths):
        return None
    return "its corners are aligned, and its scales give a length that is no whole number"


_CONTESTED: dict[str, Callable[[Operation], str | None]] = {
    "onnx.MaxUnpool": _max_unpool,
    "onnx.Resize": _resize,
}
