"""What prepares features for classical models (ONNX-ML), as element-wise operations."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.ir.dtypes import FLOAT32
from optc.ops.shapes import number, text
from optc.ops.trees import column
from optc.passes.rewrite import Builder, Miss, on


def matrix(op: Builder, operation: Operation) -> Value | Miss:
    """The first operand as float [samples, features]."""
    value = operation.operands[0]
    assert value is not None
    shape = value.tensor_type.shape
    if shape is None or not all(isinstance(dim, int) for dim in shape) or len(shape) not in (1, 2):
        return Miss("the shape of its features is not static")
    if value.dtype.name not in ("f32", "i32", "i64", "bool"):
        return Miss(f"its features are {value.dtype}")
    if value.dtype.name != "f32":
        value = op.Cast(value, to=FLOAT32.onnx_code)
    return value if len(shape) == 2 else op.Reshape(value, [1, *shape])


def _single(value: float) -> np.ndarray:
    return np.asarray(value, np.float32)


@on("ai.onnx.ml.Scaler")
def scaler(op: Builder, operation: Operation) -> Value | Miss:
    """(x - offset) · scale."""
    value = matrix(op, operation)
    if isinstance(value, Miss):
        return value
    offset, scale = (np.asarray(column(operation, name) or (start,), np.float32) for name, start in _SCALER)
    return op.Reshape(op.Mul(op.Sub(value, offset), scale), list(operation.results[0].shape))


_SCALER = (("offset", 0.0), ("scale", 1.0))

_NORMS = {"L1": "ReduceL1", "L2": "ReduceL2", "MAX": "ReduceMax"}


@on("ai.onnx.ml.Normalizer")
def normalizer(op: Builder, operation: Operation) -> Value | Miss:
    """x divided by the norm of its row; rows whose norm is zero stay."""
    value = matrix(op, operation)
    if isinstance(value, Miss):
        return value
    total = getattr(op, _NORMS[text(operation, "norm", "MAX")])(value, [1], keepdims=1)
    divisor = op.Where(op.Equal(total, 0.0), _single(1), total)
    return op.Reshape(op.Div(value, divisor), list(operation.results[0].shape))


@on("ai.onnx.ml.Binarizer")
def binarizer(op: Builder, operation: Operation) -> Value | Miss:
    """Whether x exceeds a threshold."""
    value = operation.operands[0]
    if value is None or value.dtype.name != "f32":
        return Miss("its features are not float")
    return op.Cast(op.Greater(value, number(operation, "threshold")), to=FLOAT32.onnx_code)


@on("ai.onnx.ml.Imputer")
def imputer(op: Builder, operation: Operation) -> Value | Miss:
    """Other numbers in place of one, which may be NaN."""
    value = operation.operands[0]
    wanted = np.asarray(column(operation, "imputed_value_floats"), np.float32)
    if value is None or value.dtype.name != "f32" or not wanted.size:
        return Miss("its features are not float")
    replaced = number(operation, "replaced_value_float")
    missing = op.IsNaN(value) if np.isnan(replaced) else op.Equal(value, _single(replaced))
    return op.Where(missing, wanted, value)


@on("ai.onnx.ml.ArrayFeatureExtractor")
def array_feature_extractor(op: Builder, operation: Operation) -> Value:
    """The named columns."""
    data, columns = operation.operands
    gathered = op.Gather(data, op.Reshape(columns, [-1]), axis=-1)
    return op.Reshape(gathered, list(operation.results[0].shape))


RULES = (scaler, normalizer, binarizer, imputer, array_feature_extractor)
