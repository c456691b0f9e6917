"""A module on disk: `name.mlir` and, when it has large constants, `name.resources` with their bytes.

The resources file is the length of its header (8 bytes, little endian), the header (JSON: name → element type, shape,
begin and end in the data), padding to ALIGNMENT, and the arrays, each aligned. It is mapped, not read, when loaded.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from optc.errors import ModelError, OptcError
from optc.ir import dtypes
from optc.ir.core import Module
from optc.ir.literals import canonical_array
from optc.ir.parser import parse_module
from optc.ir.printer import print_module

ALIGNMENT = 64
SUFFIX = ".resources"


def save_module(module: Module, path: Path) -> None:
    """Write the text, and the large constants beside it. Files appear whole or not at all.

    Raises:
        OptcError: the folder cannot be written.
    """
    resources: dict[str, np.ndarray] = {}
    text = print_module(module, resources)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if resources:
            _replace(path.with_suffix(SUFFIX), lambda file: _write(file, resources))
        _replace(path, lambda file: file.write(text.encode("utf-8")))
    except OSError as error:
        raise OptcError("the IR cannot be written", where=str(error.filename or path), why=error.strerror) from error


def load_module(path: Path, *, check: bool = True) -> Module:
    """Read what `save_module` wrote; `check` as in `parse_module`.

    Raises:
        ModelError: a file is missing or damaged, or the text is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError("the file is no IR text", where=str(path), why=f"byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise ModelError("the file cannot be read", where=str(path), why=error.strerror) from None
    beside = path.with_suffix(SUFFIX)
    resources = read_resources(beside) if beside != path and beside.is_file() else {}
    return parse_module(text, resources, str(path), check=check)


def read_resources(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a resources file, mapped read-only.

    Raises:
        ModelError: the file is damaged: every size and offset is checked before use.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ValueError(f"the header cannot be {length} bytes long in a file of {size}")
            header = json.loads(file.read(length))
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=0)[_aligned(8 + length) :]
        return {name: _entry(name, entry, data) for name, entry in header.items()}
    except OSError as error:
        raise ModelError("the weights cannot be read", where=str(path), why=error.strerror) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError("the weights file is damaged", where=str(path), why=str(error)) from None


def _entry(name: str, entry: Any, data: np.ndarray) -> np.ndarray:
    dtype, shape, begin, end = dtypes.BY_NAME[entry["dtype"]], tuple(entry["shape"]), entry["begin"], entry["end"]
    if not all(isinstance(item, int) and item >= 0 for item in (*shape, begin, end)) or not begin <= end <= data.size:
        raise ValueError(f"'{name}' lies outside of the file")
    raw = data[begin:end]
    if dtype is dtypes.STRING:
        items = json.loads(raw.tobytes())
        array = np.empty(len(items), dtype=object)
        array[:] = items
        return array.reshape(shape)
    if math.prod(shape) * dtype.numpy.itemsize != end - begin:
        raise ValueError(f"'{name}' has {end - begin} bytes, but its shape needs another number")
    return raw.view(dtype.numpy).reshape(shape)


def _write(file: BinaryIO, resources: Mapping[str, np.ndarray]) -> None:
    header: dict[str, Any] = {}
    position = 0
    for name, array in resources.items():
        dtype = dtypes.from_numpy(array.dtype)
        size = len(_text_bytes(array)) if dtype is dtypes.STRING else array.nbytes
        header[name] = {"dtype": dtype.name, "shape": list(array.shape), "begin": position, "end": position + size}
        position = _aligned(position + size)
    encoded = json.dumps(header).encode("utf-8")
    file.write(len(encoded).to_bytes(8, "little") + encoded)
    file.write(bytes(_aligned(8 + len(encoded)) - 8 - len(encoded)))
    for array in resources.values():
        is_text = array.dtype.kind in "OUS"
        flat: Any = np.ascontiguousarray(array).reshape(-1)
        raw = _text_bytes(array) if is_text else memoryview(flat.view(np.uint8))
        file.write(raw)
        file.write(bytes(_aligned(len(raw)) - len(raw)))


def _text_bytes(array: np.ndarray) -> bytes:
    return json.dumps(canonical_array(array).reshape(-1).tolist()).encode("utf-8")


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _replace(path: Path, write: Any) -> None:
    """Write a temporary neighbour and rename it, so that arrays mapped from the old file stay valid."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
