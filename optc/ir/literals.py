"""Strings, numbers and arrays as they stand in the IR text; every value is read back bit for bit."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from optc.ir import dtypes
from optc.ir.dtypes import DType

Scalar = int | float | bool | str | complex


def quote(text: str) -> str:
    """A JSON string; printable unicode stays readable, everything else becomes an escape."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def unquote(text: str) -> str:
    """The inverse of `quote`. Raises ValueError on a bad escape."""
    return json.loads(text)


def float_text(value: float) -> str:
    """A Python float: its shortest decimal; a NaN with a sign or payload as the hex of its 64 bits."""
    if math.isnan(value):
        bits = struct.pack(">d", value)
        return "nan" if bits == struct.pack(">d", math.nan) else f"0x{bits.hex()}"
    return repr(float(value))


def float_value(text: str) -> float:
    """The inverse of `float_text`."""
    if text.startswith("0x"):
        return struct.unpack(">d", bytes.fromhex(text[2:].zfill(16)))[0]
    return float(text)


def canonical_array(array: np.ndarray) -> np.ndarray:
    """Text arrays of any NumPy kind as an object array of `str`; every other array itself."""
    if array.dtype.kind not in "OUS":
        return array
    items = [item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else str(item) for item in array.flat]
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result.reshape(array.shape)


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two arrays have the same shape, element type and bits (so a NaN equals itself, and 0 is not -0)."""
    if left is right:
        return True
    left, right = canonical_array(left), canonical_array(right)
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.dtype == object:
        return bool((left == right).all())
    return np.ascontiguousarray(left).tobytes() == np.ascontiguousarray(right).tobytes()


def _element_text(element: np.generic, dtype: DType) -> str:
    if dtype.name == "bool":
        return "true" if element else "false"
    if dtype.is_integer:
        return str(int(element))
    if dtype.name in ("c64", "c128"):
        part = dtypes.FLOAT32 if dtype.name == "c64" else dtypes.FLOAT64
        return f"({_element_text(element.real, part)}, {_element_text(element.imag, part)})"
    with np.errstate(invalid="ignore"):
        is_nan = np.isnan(element)
    text = "nan" if is_nan else str(element) if dtype.name in ("f16", "f32") else repr(float(element))
    # NaN payloads, and decimals that two roundings would move, are written as bits.
    if _element_value(text, dtype).tobytes() == element.tobytes():
        return text if text.lstrip("-") in ("inf", "nan") or "." in text or "e" in text else text + ".0"
    return f"0x{element.tobytes()[::-1].hex()}"


def _element_value(literal: Scalar, dtype: DType) -> Any:
    if isinstance(literal, str) and literal.startswith("0x"):
        return np.frombuffer(bytes.fromhex(literal[2:].zfill(2 * dtype.bytes))[::-1], dtype.numpy)[0]
    value = float(literal) if isinstance(literal, str) else literal
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(value).astype(dtype.numpy)[()]


def elements_text(array: np.ndarray) -> list[str]:
    """Every element in row-major order."""
    array = canonical_array(array)
    if array.dtype == object:
        return [quote(item) for item in array.flat]
    dtype = dtypes.from_numpy(array.dtype)
    flat = np.ascontiguousarray(array).reshape(-1)
    return [_element_text(flat[index], dtype) for index in range(flat.size)]


def _checked(literal: object, dtype: DType) -> object:
    """A literal as the parser read it (numbers and bits as text), for one element of `dtype`."""
    if isinstance(literal, tuple):
        if dtype.name not in ("c64", "c128"):
            raise ValueError(f"a pair is no {dtype} value")
        part = dtypes.FLOAT32 if dtype.name == "c64" else dtypes.FLOAT64
        pair = np.array([_element_value(item, part) for item in literal], dtype=part.numpy)
        return pair.view(dtype.numpy)[0]
    if dtype.name == "bool":
        if not isinstance(literal, bool):
            raise ValueError("a bool element is true or false")
        return literal
    if isinstance(literal, bool) or not isinstance(literal, str):
        raise ValueError(f"{literal} is no {dtype} value")
    try:
        value = int(literal) if dtype.is_integer else _element_value(literal, dtype)
    except ValueError:
        raise ValueError(f"{literal[:40]} is no {dtype} value") from None
    if not dtype.is_integer:
        return value
    low = -(1 << (dtype.bits - 1)) if dtype.name[0] == "i" else 0
    high = (1 << (dtype.bits - 1 if dtype.name[0] == "i" else dtype.bits)) - 1
    if not low <= value <= high:
        raise ValueError(f"{value} does not fit {dtype} ({low} … {high})")
    return np.asarray(value, dtype=None if -(1 << 63) <= value < 1 << 63 else np.uint64).astype(dtype.numpy)[()]


def array_value(literals: Sequence[object], dtype: DType, shape: tuple[int, ...], *, splat: bool) -> np.ndarray:
    """The inverse of `elements_text`: numbers come as text, bools and (for strings) `Text` as themselves.

    Raises:
        ValueError: a literal does not fit the element type, or their number does not fit the shape.
    """
    count = math.prod(shape)
    if not splat and len(literals) != count:
        raise ValueError(f"{len(literals)} elements, but the type holds {count}")
    if dtype is dtypes.STRING:
        values = np.empty(len(literals), dtype=object)
        for index, literal in enumerate(literals):
            if not isinstance(literal, Text):
                raise ValueError("a string element stands in quotes")
            values[index] = literal.value
    else:
        values = np.array([_checked(literal, dtype) for literal in literals], dtype=dtype.numpy)
    return np.full(shape, values[0], dtype=dtype.numpy) if splat else values.reshape(shape)


class Text:
    """A quoted literal, to be told from a number that is held as text."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __str__(self) -> str:
        return quote(self.value)
