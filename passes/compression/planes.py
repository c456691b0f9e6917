"""Floats as planes of bytes, so that what is predictable about them stands together.

Weights vary in sign and mantissa like noise, but few exponents occur: the exponents by themselves take under three of
their eight bits, the rest does not shrink (Hershcovitch et al., "ZipNN: Lossless Compression for AI Models", 2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Plane = np.ndarray
"""uint8 or uint16, one dimension."""


def plane_types(dtype: np.dtype) -> tuple[str, ...]:
    """The element types of the planes of an element type."""
    if dtype == np.float32:
        return "u1", "u1", "u2"
    if _is_bfloat16(dtype):
        return "u1", "u1"
    return ("u1",) * dtype.itemsize


def split(values: np.ndarray) -> list[Plane]:
    """The planes of an array of one dimension; the exponents first, where there are some."""
    dtype = values.dtype
    if dtype == np.float32:
        halves = np.ascontiguousarray(values).view("<u2").reshape(-1, 2)
        return [*_split_half(halves[:, 1]), np.ascontiguousarray(halves[:, 0])]
    if _is_bfloat16(dtype):
        return _split_half(np.ascontiguousarray(values).view("<u2"))
    octets = np.ascontiguousarray(values).view("u1").reshape(-1, dtype.itemsize)
    return [np.ascontiguousarray(octets[:, place]) for place in reversed(range(dtype.itemsize))]


def join(planes: Sequence[Plane], out: np.ndarray) -> None:
    """The array of planes, written to `out`, which is contiguous and of one dimension."""
    if out.dtype == np.float32:
        halves = out.view("<u2").reshape(-1, 2)
        halves[:, 0] = planes[2]
        halves[:, 1] = _join_half(planes[0], planes[1])
    elif _is_bfloat16(out.dtype):
        out.view("<u2")[:] = _join_half(planes[0], planes[1])
    else:
        octets = out.view("u1").reshape(-1, out.dtype.itemsize)
        for place, plane in zip(reversed(range(out.dtype.itemsize)), planes, strict=True):
            octets[:, place] = plane


def _is_bfloat16(dtype: np.dtype) -> bool:
    return dtype.name == "bfloat16"


def _split_half(top: np.ndarray) -> list[Plane]:
    """The exponent, and the mantissa with the sign below it, of the upper half of a float32."""
    turned = (top << 1) | (top >> 15)
    return [(turned >> 8).astype("u1"), turned.astype("u1")]


def _join_half(exponents: Plane, rest: Plane) -> np.ndarray:
    turned = np.empty((len(exponents), 2), "u1")
    turned[:, 1] = exponents
    turned[:, 0] = rest
    whole = turned.view("<u2").reshape(-1)
    top = whole >> 1
    whole <<= 15
    top |= whole
    return top
