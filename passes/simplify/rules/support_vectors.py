"""Support vector machines (ONNX-ML) as matrix products and element-wise operations."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.ops.shapes import integer, text
from optc.ops.trees import column
from optc.passes.rewrite import Builder, Miss, on
from optc.passes.simplify.rules.features import matrix


def kernel_matrix(op: Builder, operation: Operation, value: Value, vectors: np.ndarray) -> Value | Miss:
    """The kernel of every sample [n, features] with every support vector [s, features]: [n, s]."""
    gamma, constant, degree = (*column(operation, "kernel_params"), 0.0, 0.0, 3.0)[:3]
    kind = text(operation, "kernel_type", "LINEAR")
    if kind == "RBF":
        samples, features = value.shape
        apart = op.Sub(op.Reshape(value, [samples, 1, features]), vectors[None])
        squares = op.ReduceSumSquare(apart, [2], keepdims=0)
        return op.Exp(op.Mul(squares, -float(gamma)))
    products = op.MatMul(value, np.ascontiguousarray(vectors.T))
    if kind == "LINEAR":
        return products
    moved = op.Add(op.Mul(products, float(gamma)), float(constant))
    if kind == "SIGMOID":
        return op.Tanh(moved)
    return op.Pow(moved, float(degree)) if kind == "POLY" else Miss(f"its kernel is {kind}")


@on("ai.onnx.ml.SVMRegressor")
def svm_regressor(op: Builder, operation: Operation) -> Value | Miss:
    """A weighted sum of kernels."""
    value = matrix(op, operation)
    if isinstance(value, Miss):
        return value
    if integer(operation, "one_class") or text(operation, "post_transform", "NONE") != "NONE":
        return Miss("it tells one class from all else, or has a post_transform")
    coefficients = np.asarray(column(operation, "coefficients"), np.float32)
    supports = integer(operation, "n_supports")
    vectors = np.asarray(column(operation, "support_vectors"), np.float32)
    if supports and (coefficients.size != supports or vectors.size != supports * value.shape[1]):
        return Miss("its support vectors do not fit its features")
    kernels = kernel_matrix(op, operation, value, vectors.reshape(supports, -1)) if supports else value
    if isinstance(kernels, Miss):
        return kernels
    rho = np.asarray(column(operation, "rho")[:1] or (0.0,), np.float32)
    return op.Add(op.MatMul(kernels, coefficients.reshape(-1, 1)), rho)


RULES = (svm_regressor,)
