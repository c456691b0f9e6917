"""Numbers and arrays as C99 writes them, without loss."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np

TYPES = {
    "bool": "uint8_t", "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t",
    "int32": "int32_t", "uint32": "uint32_t", "int64": "int64_t", "uint64": "uint64_t",
    "float32": "float", "float64": "double",
}  # fmt: skip
"""The C type of an element, by NumPy's name."""


def real_literal(value: float, *, single: bool) -> str:
    """A float or double."""
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    digits = f"{value:.9g}" if single else f"{value:.17g}"
    whole = digits if any(sign in digits for sign in ".e") else f"{digits}.0"
    return f"{whole}f" if single else whole


def integer_literal(value: int, dtype: str) -> str:
    """An integer of an element type; the least ones have no literal of their own."""
    if dtype == "int32" and value == -(2**31):
        return "(-2147483647 - 1)"
    if dtype == "int64":
        return "(-INT64_C(9223372036854775807) - 1)" if value == -(2**63) else f"INT64_C({value})"
    if dtype == "uint64":
        return f"UINT64_C({value})"
    return f"{value}u" if dtype == "uint32" else str(value)


def array_definition(array: np.ndarray, name: str) -> str:
    """A constant array."""
    flat = np.ascontiguousarray(array).reshape(-1)
    dtype = str(flat.dtype)
    if flat.dtype.kind == "f":
        numbers: Sequence[str] = [real_literal(each, single=dtype == "float32") for each in flat.tolist()]
    else:
        numbers = [integer_literal(int(each), dtype) for each in flat.tolist()]
    body = textwrap.fill(", ".join(numbers), 116, initial_indent="    ", subsequent_indent="    ")
    return f"static const {TYPES[dtype]} {name}[{flat.size}] = {{\n{body},\n}};"
