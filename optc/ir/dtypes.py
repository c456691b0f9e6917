"""Element types: their name in the IR text, their NumPy type and their ONNX code, in one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DType:
    """An element type.

    Attributes:
        name: the name in the IR text (`f32`, `i64`, `u8`, `bool` …).
        numpy_name: the NumPy type (ml_dtypes' name where NumPy has none).
        onnx_code: the value of `onnx.TensorProto.DataType`.
        bits: the width of one element; 0 for strings.
    """

    name: str
    numpy_name: str
    onnx_code: int
    bits: int

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype; types that NumPy lacks come from ml_dtypes."""
        if self.numpy_name in _ML_DTYPES:
            import ml_dtypes

            return np.dtype(getattr(ml_dtypes, self.numpy_name))
        return np.dtype(self.numpy_name)

    @property
    def is_float(self) -> bool:
        return self.name[0] in "fb" and self.name != "bool"

    @property
    def is_integer(self) -> bool:
        return self.name[0] in "iu"

    @property
    def bytes(self) -> int:
        """Bytes of one element as stored by NumPy (sub-byte types take one)."""
        return max(1, self.bits // 8)

    def __str__(self) -> str:
        return self.name


_ML_DTYPES = {"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "int4", "uint4"}

_TABLE = (
    DType("f32", "float32", 1, 32),
    DType("u8", "uint8", 2, 8),
    DType("i8", "int8", 3, 8),
    DType("u16", "uint16", 4, 16),
    DType("i16", "int16", 5, 16),
    DType("i32", "int32", 6, 32),
    DType("i64", "int64", 7, 64),
    DType("string", "object", 8, 0),
    DType("bool", "bool", 9, 8),
    DType("f16", "float16", 10, 16),
    DType("f64", "float64", 11, 64),
    DType("u32", "uint32", 12, 32),
    DType("u64", "uint64", 13, 64),
    DType("c64", "complex64", 14, 64),
    DType("c128", "complex128", 15, 128),
    DType("bf16", "bfloat16", 16, 16),
    DType("f8e4m3fn", "float8_e4m3fn", 17, 8),
    DType("f8e4m3fnuz", "float8_e4m3fnuz", 18, 8),
    DType("f8e5m2", "float8_e5m2", 19, 8),
    DType("f8e5m2fnuz", "float8_e5m2fnuz", 20, 8),
    DType("u4", "uint4", 21, 4),
    DType("i4", "int4", 22, 4),
)

BY_NAME = {dtype.name: dtype for dtype in _TABLE}
BY_ONNX_CODE = {dtype.onnx_code: dtype for dtype in _TABLE}
_BY_NUMPY_NAME = {dtype.numpy_name: dtype for dtype in _TABLE}

FLOAT32 = BY_NAME["f32"]
FLOAT16 = BY_NAME["f16"]
FLOAT64 = BY_NAME["f64"]
INT8 = BY_NAME["i8"]
UINT8 = BY_NAME["u8"]
INT32 = BY_NAME["i32"]
INT64 = BY_NAME["i64"]
BOOL = BY_NAME["bool"]
STRING = BY_NAME["string"]


def from_numpy(dtype: np.dtype) -> DType:
    """The element type of a NumPy dtype; every text dtype maps to `string`. Raises KeyError for others."""
    if dtype.kind in "OUS":
        return STRING
    return _BY_NUMPY_NAME[dtype.name]
