"""Writes classical models (ONNX-ML) with ONNX's own operations, as far as those go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from optc.ir.core import Module, Operation, Value
from optc.ops.classical import TREES
from optc.ops.shapes import integer, text
from optc.ops.trees import column, read_trees
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import Builder, Miss, apply_rules, on
from optc.passes.simplify.rules import features, support_vectors
from optc.passes.simplify.rules.features import matrix


@dataclass(frozen=True)
class ExpandClassical(Pass):
    """Replace linear models, classifiers, support vectors and what prepares features by ONNX's own operations.

    What stays of an ensemble of trees is a TreeEnsembleRegressor that sums weights: a score for each class. Results
    are those of onnxruntime, which differs from the specification in how it treats two classes with one score.
    """

    name: ClassVar[str] = "expand-classical"

    def run(self, module: Module, context: PassContext) -> bool:
        return apply_rules(module, RULES, context, self.name)


def _transformed(op: Builder, scores: Value, how: str) -> Value | Miss:
    """Scores as probabilities, where the model asks for them."""
    if how == "NONE":
        return scores
    if how == "LOGISTIC":
        return op.Sigmoid(scores)
    return op.Softmax(scores, axis=1) if how == "SOFTMAX" else Miss(f"its post_transform is {how}")


def _labels(op: Builder, scores: Value, numbers: Sequence[int]) -> Value:
    """The label of the largest score; the first one of several."""
    index = op.ArgMax(scores, axis=1, keepdims=0)
    if list(numbers) == list(range(len(numbers))):
        return index
    return op.Gather(np.asarray(numbers, np.int64), index, axis=0)


def _products(op: Builder, operation: Operation, count: int) -> Value | Miss:
    value = matrix(op, operation)
    if isinstance(value, Miss):
        return value
    coefficients = np.asarray(column(operation, "coefficients"), np.float32)
    if coefficients.size != count * value.shape[1]:
        return Miss(f"it has {coefficients.size} coefficients for {count} scores of {value.shape[1]} features")
    product = op.MatMul(value, np.ascontiguousarray(coefficients.reshape(count, -1).T))
    intercepts = np.asarray(column(operation, "intercepts"), np.float32)
    return op.Add(product, intercepts) if intercepts.size else product


@on("ai.onnx.ml.LinearRegressor")
def linear_regressor(op: Builder, operation: Operation) -> Value | Miss:
    """A matrix product."""
    scores = _products(op, operation, integer(operation, "targets", 1))
    return scores if isinstance(scores, Miss) else _transformed(op, scores, text(operation, "post_transform", "NONE"))


@on("ai.onnx.ml.LinearClassifier")
def linear_classifier(op: Builder, operation: Operation) -> Sequence[Value] | Miss:
    """A matrix product; the largest score gives the label."""
    numbers = column(operation, "classlabels_ints")
    if not numbers:
        return Miss(_NO_STRINGS)
    scores = _products(op, operation, len(numbers))
    if isinstance(scores, Miss):
        return scores
    if len(numbers) < 2:
        return Miss("it has one class")
    shown = _transformed(op, scores, text(operation, "post_transform", "NONE"))
    return shown if isinstance(shown, Miss) else (_labels(op, scores, numbers), shown)


_NO_STRINGS = "its labels are strings"


@on(TREES)
def tree_regressor(op: Builder, operation: Operation) -> Value | Miss | None:
    """Features become float, and what follows the sum stands behind it."""
    how = text(operation, "post_transform", "NONE")
    value = matrix(op, operation)
    if isinstance(value, Miss):
        return value
    if how == "NONE" and value is operation.operands[0]:
        return None
    return _transformed(op, op.clone(operation, [value], post_transform="NONE"), how)


@on("ai.onnx.ml.TreeEnsembleClassifier")
def tree_classifier(op: Builder, operation: Operation) -> Sequence[Value] | Miss:
    """A score for each class, or one for the second of two."""
    numbers = column(operation, "classlabels_int64s")
    value = matrix(op, operation)
    if isinstance(value, Miss):
        return value
    if not numbers:
        return Miss(_NO_STRINGS)
    ensemble = read_trees(operation, "class")
    if isinstance(ensemble, str):
        return Miss(ensemble)
    how = text(operation, "post_transform", "NONE")
    ids, weights = column(operation, "class_ids"), column(operation, "class_weights")
    bases = column(operation, "base_values")
    if len(numbers) > 2:
        if not bases and min(weights, default=0.0) < 0 and not _all_scored(operation, len(numbers)):
            return Miss("some leaves have no score for some classes, and others have negative ones")
        scores = _scores(op, operation, value, len(numbers), ids)
        shown = _transformed(op, scores, how)
        return shown if isinstance(shown, Miss) else (_labels(op, scores, numbers), shown)
    if len(numbers) != 2 or len(set(ids)) != 1 or len(bases) > 1:
        return Miss("its two classes have scores of their own")
    score = _scores(op, operation, value, 1, (0,) * len(ids))
    positive = min(weights) >= 0
    if positive and how != "NONE":
        return Miss(f"its scores are probabilities, and its post_transform is {how}")
    second = op.Greater(score, 0.5 if positive else 0.0)
    label = op.Reshape(op.Where(second, *(np.asarray(each, np.int64) for each in numbers[::-1])), [-1])
    pair = op.Concat(op.Sub(1.0, score) if positive else op.Neg(score), score, axis=1)
    # Each of the two by itself: softmax of two opposite scores is something else.
    shown = _transformed(op, pair, how)
    return shown if isinstance(shown, Miss) else (label, shown)


def _scores(op: Builder, operation: Operation, value: Value, count: int, targets: Sequence[int]) -> Value:
    kept: dict[str, Any] = {
        name: each for name, each in operation.attributes.items() if name.startswith(("nodes_", "base_values"))
    }
    renamed = {f"target_{name}": operation.attributes[f"class_{name}"] for name in ("treeids", "nodeids", "weights")}
    return op.call(TREES, [value], {**kept, **renamed, "target_ids": tuple(targets), "n_targets": count})


def _all_scored(operation: Operation, count: int) -> bool:
    """Whether every sample gets a score for every class: some tree has it in all leaves."""
    leaves: dict[int, int] = {}
    for tree, mode in zip(column(operation, "nodes_treeids"), column(operation, "nodes_modes"), strict=True):
        leaves[tree] = leaves.get(tree, 0) + (mode == "LEAF")
    scored: dict[tuple[int, int], set[int]] = {}
    names = ("class_treeids", "class_nodeids", "class_ids")
    for tree, node, each in zip(*(column(operation, name) for name in names), strict=True):
        scored.setdefault((tree, each), set()).add(node)
    full = {each for (tree, each), nodes in scored.items() if len(nodes) == leaves[tree]}
    return len(full) == count


RULES = (
    *features.RULES,
    *support_vectors.RULES,
    linear_regressor,
    linear_classifier,
    tree_regressor,
    tree_classifier,
)
