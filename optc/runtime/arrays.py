"""NumPy arrays at the boundary to native code: aligned memory, checked types, addresses."""

from __future__ import annotations

import ctypes
import difflib
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from optc.errors import UsageError
from optc.ir.dtypes import BY_NAME
from optc.program import ALIGNMENT, TensorInfo

_DTYPES = {dtype.numpy_name: dtype for dtype in BY_NAME.values()}


@functools.cache
def numpy_dtype(info: TensorInfo) -> np.dtype:
    """The NumPy dtype of a tensor; types that NumPy lacks come from ml_dtypes."""
    return _DTYPES[info.dtype].numpy


def aligned_empty(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """An uninitialized array whose first element lies on a 64-byte boundary."""
    memory = np.empty(math.prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
    return np.ndarray(shape, dtype, memory, -address_of(memory) % ALIGNMENT)


def address_of(array: np.ndarray) -> int:
    """Where the array's first element lies."""
    return array.__array_interface__["data"][0]


def array_at(address: int, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """An array over memory that belongs to someone else, who keeps it alive."""
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, memoryview((ctypes.c_char * size).from_address(address)))


def describe(info: TensorInfo) -> str:
    """Type and shape for people: `float32[1, 3, ?, ?]`."""
    return _describe(info.dtype, info.shape)


def check_inputs(given: Mapping[str, Any], wanted: Sequence[TensorInfo]) -> list[np.ndarray]:
    """The given values as C-contiguous arrays in the order of `wanted`.

    Raises:
        UsageError: a name is missing or unknown, or a type or shape differs; it names the input, and what was expected.
    """
    names = [info.name for info in wanted]
    if given.keys() != set(names):
        _refuse_names(given, names)
    return [_check_input(info, given[info.name]) for info in wanted]


def pack(given: Mapping[str, Any], wanted: Sequence[TensorInfo]) -> bytes:
    """The inputs one after the other, as the programs take them that run an artifact; raises as `check_inputs`."""
    return b"".join(array.tobytes() for array in check_inputs(given, wanted))


def unpack(content: bytes, infos: Sequence[TensorInfo]) -> dict[str, np.ndarray]:
    """The outputs by name of what such a program wrote."""
    outputs, position = {}, 0
    for info in infos:
        dtype, shape = numpy_dtype(info), tuple(extent or 0 for extent in info.shape or ())
        count = math.prod(shape)
        outputs[info.name] = np.frombuffer(content, dtype, count, position).reshape(shape)
        position += count * dtype.itemsize
    return outputs


def _check_input(info: TensorInfo, value: Any) -> np.ndarray:
    if info.dtype == "object":
        return np.asarray(value, dtype=object) if info.shape is not None else value
    array = np.asarray(value)
    expected = numpy_dtype(info)
    if array.dtype != expected or not _shape_fits(array.shape, info.shape):
        hint = None
        if array.dtype != expected:
            hint = f"convert it with array.astype('{info.dtype}')"
        raise UsageError(
            f"input '{info.name}' has the wrong {'type' if array.dtype != expected else 'shape'}",
            why=f"expected {describe(info)}, given {_describe(array.dtype.name, array.shape)}",
            hint=hint,
        )
    # ascontiguousarray would turn a scalar into a vector.
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _shape_fits(shape: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> bool:
    if wanted is None or shape == wanted:
        return True
    return len(shape) == len(wanted) and all(w is None or w == s for s, w in zip(shape, wanted, strict=True))


def _refuse_names(given: Iterable[str], wanted: Sequence[str]) -> None:
    given = list(given)
    faults = []
    for name in given:
        if name not in wanted:
            near = difflib.get_close_matches(str(name), [w for w in wanted if w not in given], n=1, cutoff=0.5)
            faults.append(f"'{name}' is unknown" + (f" (did you mean '{near[0]}'?)" if near else ""))
    faults += [f"'{name}' is missing" for name in wanted if name not in given]
    raise UsageError("the inputs are not the model's", why="; ".join(faults), hint=f"the inputs are: {_listed(wanted)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _describe(dtype: str, shape: Sequence[int | None] | None) -> str:
    if shape is None:
        return f"{dtype}[...]"
    return f"{dtype}[{', '.join('?' if extent is None else str(extent) for extent in shape)}]"
