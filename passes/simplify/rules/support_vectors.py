"""Support vector machines (ONNX-ML) as matrix products and element-wise operations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from optc.ir.core import Operation, Value
from optc.ir.dtypes import FLOAT32
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


@on("ai.onnx.ml.SVMClassifier")
def svm_classifier(op: Builder, operation: Operation) -> Sequence[Value] | Miss:
    """A weighted sum of kernels for each pair of classes, each of which votes for one of its two."""
    value = matrix(op, operation)
    if isinstance(value, Miss):
        return value
    numbers, sizes = column(operation, "classlabels_ints"), column(operation, "vectors_per_class")
    if column(operation, "prob_a") or text(operation, "post_transform", "NONE") != "NONE":
        return Miss("it works out probabilities, which takes iterations, or has a post_transform")
    if len(numbers) < 2 or len(sizes) != len(numbers):
        return Miss("its labels are strings, or it has no support vectors")
    vectors = np.asarray(column(operation, "support_vectors"), np.float32)
    if vectors.size != sum(sizes) * value.shape[1]:
        return Miss("its support vectors do not fit its features")
    vectors = vectors.reshape(sum(sizes), -1)
    coefficients = np.asarray(column(operation, "coefficients"), np.float32)
    pairs = list(combinations(range(len(numbers)), 2))
    rho = np.asarray(column(operation, "rho"), np.float32)
    if coefficients.size != (len(numbers) - 1) * len(vectors) or rho.size != len(pairs):
        return Miss("its coefficients do not fit its support vectors and classes")
    kernels = kernel_matrix(op, operation, value, vectors)
    if isinstance(kernels, Miss):
        return kernels
    weights = _pair_weights(coefficients.reshape(len(numbers) - 1, -1), sizes, pairs)
    scores = op.Add(op.MatMul(kernels, weights), rho)
    first, second = (np.eye(len(numbers), dtype=np.float32)[[pair[side] for pair in pairs]] for side in (0, 1))
    won = op.Cast(op.Greater(scores, 0.0), to=FLOAT32.onnx_code)
    votes = op.Add(op.MatMul(won, first - second), second.sum(axis=0))
    label = op.Gather(np.asarray(numbers, np.int64), op.ArgMax(votes, axis=1, keepdims=0), axis=0)
    return label, op.Concat(op.Neg(scores), scores, axis=1) if len(numbers) == 2 else scores


def _pair_weights(coefficients: np.ndarray, sizes: Sequence[int], pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """[support vectors, pairs] of coefficients [classes - 1, support vectors], which leave out the own class."""
    ends = np.cumsum([0, *sizes])
    weights = np.zeros((int(ends[-1]), len(pairs)), np.float32)
    for number, (first, second) in enumerate(pairs):
        own, other = (slice(ends[each], ends[each + 1]) for each in (first, second))
        weights[own, number] = coefficients[second - 1, own]
        weights[other, number] = coefficients[first, other]
    return weights


RULES = (svm_regressor, svm_classifier)
