"""The tables of a tree ensemble: from the attributes of ONNX's operations to nodes that each follow their parent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.ir.core import Operation

_LESS = ("BRANCH_LT", "BRANCH_GTE")
_SWAPPED = ("BRANCH_GT", "BRANCH_GTE")
_NODE_COLUMNS = ("treeids", "nodeids", "featureids", "values", "truenodeids", "falsenodeids")
_MODES = frozenset({"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "LEAF"})


@dataclass(frozen=True)
class Node:
    """A node of a tree: `x[feature] <= threshold` leads to the node behind it, else `other` nodes further.

    Attributes:
        feature: -1 in a leaf.
        threshold: float32.
        other: 0 in a leaf.
        missing_left: whether NaN leads to the node behind it.
        weights: of a leaf, (target, weight) pairs.
    """

    feature: int
    threshold: float
    other: int
    missing_left: bool
    weights: tuple[tuple[int, float], ...] = ()


Tree = tuple[Node, ...]
"""Its nodes in preorder."""


def column(operation: Operation, name: str) -> tuple[Any, ...]:
    """An attribute that is a list; empty when absent."""
    value = operation.attributes.get(name, ())
    return tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value,)


def read_trees(operation: Operation, prefix: str) -> tuple[Tree, ...] | str:
    """The ensemble of a TreeEnsembleRegressor (prefix `target`) or TreeEnsembleClassifier (`class`).

    Returns:
        the trees in the order in which their weights are summed, or why they cannot be written in this form.
    """
    if any(name.endswith("_as_tensor") for name in operation.attributes):
        return "its thresholds or weights are tensors of another element type"
    modes = column(operation, "nodes_modes")
    lengths = {len(column(operation, f"nodes_{part}")) for part in _NODE_COLUMNS}
    if lengths != {len(modes)} or not modes:
        return "it has no nodes, or the lists that describe them differ in length"
    if len(column(operation, "nodes_missing_value_tracks_true")) not in (0, len(modes)):
        return "it does not say of every node where a missing value leads"
    strange = sorted(set(modes) - _MODES)
    if strange:
        return f"it has nodes of mode {strange[0]}"
    names = list(zip(column(operation, "nodes_treeids"), column(operation, "nodes_nodeids"), strict=True))
    index = {name: number for number, name in enumerate(names)}
    if len(index) != len(names):
        return "two of its nodes have one number"
    weights: dict[int, list[tuple[int, float]]] = {}
    columns = [column(operation, f"{prefix}_{part}") for part in ("treeids", "nodeids", "ids", "weights")]
    if len(set(map(len, columns))) != 1:
        return "the lists that describe its weights differ in length"
    for tree, node, target, weight in zip(*columns, strict=True):
        if (tree, node) not in index:
            return f"it weights node {node} of tree {tree}, which does not exist"
        weights.setdefault(index[tree, node], []).append((int(target), float(weight)))
    table = _Table(operation, modes, names, index, weights)
    if table.error:
        return table.error
    trees = tuple(table.preorder(root) for root in table.roots())
    if not all(trees):
        return "a node is reached in two ways"
    return trees if sum(map(len, trees)) == len(names) else "some of its nodes belong to no tree"


class _Table:
    def __init__(
        self,
        operation: Operation,
        modes: tuple[str, ...],
        names: list[tuple[int, int]],
        index: dict[tuple[int, int], int],
        weights: dict[int, list[tuple[int, float]]],
    ) -> None:
        self.modes, self.weights, self.error = modes, weights, ""
        self.features = column(operation, "nodes_featureids")
        self.values = np.asarray(column(operation, "nodes_values"), np.float32)
        missing = column(operation, "nodes_missing_value_tracks_true")
        self.missing = missing or (0,) * len(names)
        self.children: list[tuple[int, int]] = []
        truly, falsely = (column(operation, f"nodes_{side}nodeids") for side in ("true", "false"))
        for number, (tree, _) in enumerate(names):
            if modes[number] == "LEAF":
                self.children.append((-1, -1))
                continue
            pair = (index.get((tree, truly[number])), index.get((tree, falsely[number])))
            if pair[0] is None or pair[1] is None or self.features[number] < 0:
                self.error = "a node that compares has no child or no feature"
                return
            self.children.append((pair[0], pair[1]))

    def roots(self) -> Iterator[int]:
        inner = {child for pair in self.children for child in pair}
        return (number for number in range(len(self.children)) if number not in inner)

    def preorder(self, root: int) -> Tree:
        """A node and all below it; empty where one of them is reached in two ways."""
        places: dict[int, int] = {}
        pending = [root]
        while pending:
            number = pending.pop()
            if number in places:
                return ()
            places[number] = len(places)
            if self.modes[number] != "LEAF":
                pending += self._sides(number)[::-1]
        return tuple(self._node(number, places) for number in places)

    def _sides(self, number: int) -> tuple[int, int]:
        """Where `x <= threshold` leads, and where its opposite does."""
        true, false = self.children[number]
        return (false, true) if self.modes[number] in _SWAPPED else (true, false)

    def _node(self, number: int, places: dict[int, int]) -> Node:
        mode = self.modes[number]
        if mode == "LEAF":
            return Node(-1, 0.0, 0, False, tuple(self.weights.get(number, ())))
        threshold = self.values[number]
        if mode in _LESS:
            # x < t is x <= the next smaller number.
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        _, second = self._sides(number)
        # NaN compares false, and leads to the false child unless the model says otherwise.
        missing_left = bool(self.missing[number]) != (mode in _SWAPPED)
        return Node(int(self.features[number]), float(threshold), places[second] - places[number], missing_left)
