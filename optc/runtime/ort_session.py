"""onnxruntime sessions, also for element types that NumPy does not have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from optc.errors import OptcError
from optc.ir.dtypes import BY_NAME
from optc.runtime.arrays import array_at

if TYPE_CHECKING:
    import onnxruntime

Optimizations = Literal["none", "basic", "all"]

# Byte-sized types that onnxruntime moves, but not through NumPy: by the name that its sessions give to tensors of it.
_FOREIGN = {
    f"tensor({dtype.numpy_name.replace('_', '')})": dtype
    for dtype in BY_NAME.values()
    if dtype.numpy_name == "bfloat16" or dtype.numpy_name.startswith("float8")
}
_NOISE = (
    re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : "),
    re.compile(r"(Exception during initialization: )?/\S+\.(cc|h):\d+ "),
    re.compile(r"(\w+ )?([\w:]+ )?(\w+::)+\w+\(([^()]|\([^()]*\))*\)(::<lambda\([^)]*\)>)? (?=\S)"),  # a C++ signature
)
_FOREIGN_NAMES = {dtype.numpy_name: dtype for dtype in _FOREIGN.values()}


def open_session(
    source: str | bytes, *, purpose: str, threads: int = 0, optimizations: Optimizations = "all", polling: bool = True
) -> onnxruntime.InferenceSession:
    """A session on the CPU.

    Args:
        source: the model as a path or as bytes.
        purpose: begins the message where onnxruntime is not installed.
        threads: 0 for onnxruntime's choice.
        optimizations: of the graph.
        polling: whether idle threads poll for work.

    Raises:
        OptcError: onnxruntime is not installed.
        Exception: whatever onnxruntime says of the model.
    """
    try:
        import onnxruntime
    except ImportError as fault:
        hint = "pip install onnxruntime"
        raise OptcError(f"{purpose} onnxruntime, which is not installed", why=str(fault), hint=hint) from fault
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = {
        "none": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "all": levels.ORT_ENABLE_ALL,
    }[optimizations]
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not polling:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
    """The outputs `names`; bfloat16 and 8-bit floats come and go as ml_dtypes arrays, 4-bit integers go as bytes."""
    feeds = {name: _widened(value) for name, value in feeds.items()}
    types = {node.name: node.type for node in session.get_outputs()}
    foreign_feed = any(isinstance(value, np.ndarray) and value.dtype.name in _FOREIGN_NAMES for value in feeds.values())
    if not foreign_feed and not any(types[name] in _FOREIGN for name in names):
        return session.run(list(names), dict(feeds))
    values = session.run_with_ort_values(list(names), {name: _to_ort(value) for name, value in feeds.items()})
    return [_from_ort(value, types[name]) for name, value in zip(names, values, strict=True)]


def _widened(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.name in ("int4", "uint4"):
        return value.astype(value.dtype.name.replace("4", "8"))
    return value


def first_line(fault: Exception) -> str:
    """The first line of an onnxruntime message, without its codes, source paths and signatures, for `OptcError.why`."""
    line = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
    for noise in _NOISE:
        line = noise.sub("", line)
    return line or type(fault).__name__


def _to_ort(value: np.ndarray) -> onnxruntime.OrtValue:
    from onnxruntime import OrtValue

    foreign = _FOREIGN_NAMES.get(value.dtype.name)
    if foreign is None:
        return OrtValue.ortvalue_from_numpy(value)
    bits = np.ascontiguousarray(value).view(f"uint{foreign.bits}").reshape(value.shape)
    return OrtValue.ortvalue_from_numpy_with_onnx_type(bits, foreign.onnx_code)


def _from_ort(value: onnxruntime.OrtValue, kind: str) -> Any:
    if kind not in _FOREIGN:
        return value.numpy()
    return array_at(value.data_ptr(), value.shape(), _FOREIGN[kind].numpy).copy()
