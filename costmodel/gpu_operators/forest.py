"""Sums of binary regression trees, evaluated with numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.errors import OptcError

Array = npt.NDArray[np.float64]
_BATCH = 4096  # rows walked down all trees at once: what this holds stays near 100 MB
_NODE_TYPES = {"features": np.uint8, "thresholds": np.float32, "children": np.uint16, "leaves": np.float32}


@dataclass(frozen=True)
class Forest:
    """Trees one after the other; inner nodes first come in each tree's own numbering, from 0.

    Attributes:
        features: shape (inner nodes,), the column that a node compares.
        thresholds: shape (inner nodes,); a value not above it goes left.
        children: shape (inner nodes, 2), numbers in the tree: inner nodes, then (offset by their count) leaves.
        leaves: shape (leaves,), what a leaf adds.
        inner_counts: shape (trees,), inner nodes of each tree.
    """

    features: npt.NDArray[Any]
    thresholds: npt.NDArray[np.float32]
    children: npt.NDArray[Any]
    leaves: npt.NDArray[np.float32]
    inner_counts: npt.NDArray[Any]

    def predict(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The sums of shape (n,) for rows of shape (n, columns)."""
        parts = [self._walk(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _walk(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        counts = self.inner_counts.astype(np.int64)
        inner_starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        leaf_starts = np.concatenate(([0], np.cumsum(counts + 1)[:-1]))
        total = np.zeros(len(rows))
        every = np.arange(len(rows))
        for start, leaf_start, count in zip(inner_starts, leaf_starts, counts, strict=True):
            inner = slice(start, start + count)
            features, thresholds = self.features[inner], self.thresholds[inner]
            children = self.children[inner].astype(np.int64)
            node = np.zeros(len(rows), np.int64)
            active = every if count else every[:0]
            while active.size:
                here = node[active]
                right = rows[active, features[here]] > thresholds[here]
                node[active] = children[here, right.astype(np.int64)]
                active = active[node[active] < count]
            total += self.leaves[leaf_start + node - count]
        return total

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, for a predictor's model file."""
        found: dict[str, npt.NDArray[Any]] = {
            f"{prefix}/{name}": getattr(self, name).astype(kind) for name, kind in _NODE_TYPES.items()
        }
        return {**found, f"{prefix}/inner_counts": self.inner_counts.astype(np.uint16)}

    @staticmethod
    def of_arrays(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> Forest:
        """What `arrays` gave."""
        return Forest(**{name: arrays[f"{prefix}/{name}"] for name in (*_NODE_TYPES, "inner_counts")})

    @staticmethod
    def of_lightgbm(model: Mapping[str, Any]) -> Forest:
        """From LightGBM's `dump_model()` of a regression on numeric columns without missing values."""
        features: list[int] = []
        thresholds: list[float] = []
        children: list[tuple[int, int]] = []
        leaves: list[float] = []
        counts: list[int] = []
        for tree in model["tree_info"]:
            root, count = tree["tree_structure"], tree["num_leaves"] - 1
            own_features, own_thresholds = [0] * count, [0.0] * count
            own_children, own_leaves = [(0, 0)] * count, [0.0] * (count + 1)
            stack = [root]
            while stack:
                node = stack.pop()
                if "split_index" not in node:
                    own_leaves[node.get("leaf_index", 0)] = node["leaf_value"]
                    continue
                index = node["split_index"]
                own_features[index], own_thresholds[index] = node["split_feature"], node["threshold"]
                below = (node["left_child"], node["right_child"])
                left, right = (c["split_index"] if "split_index" in c else count + c["leaf_index"] for c in below)
                own_children[index] = (left, right)
                stack.extend(below)
            features += own_features
            thresholds += own_thresholds
            children += own_children
            leaves += own_leaves
            counts.append(count)
        return Forest(
            np.array(features, np.uint8),
            np.array(thresholds, np.float32),
            np.array(children, np.uint16).reshape(-1, 2),
            np.array(leaves, np.float32),
            np.array(counts, np.uint16),
        )


def boost(
    inputs: npt.NDArray[np.float32], target: Array, size: tuple[int, int, float], seed: int,
    weights: Array | None = None, **others: Any,
) -> Forest:  # fmt: skip
    """Gradient-boosted trees for the median of `target`, shape (n,), from `inputs`, shape (n, columns).

    Args:
        inputs: without missing values.
        target: what the sums approximate.
        size: rounds, leaves of a tree, learning rate.
        seed: of the subsets that the trees see.
        weights: of the rows, shape (n,).
        others: further options of LightGBM, or other values than here.

    Raises:
        OptcError: LightGBM is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise OptcError("LightGBM is not installed", hint="pip install 'optc[train]'") from error
    rounds, leaves, rate = size
    options = {
        "objective": "l1", "learning_rate": rate, "num_leaves": leaves, "min_data_in_leaf": 10,
        "feature_fraction": 0.6, "bagging_fraction": 0.8, "bagging_freq": 1, "num_threads": 1, "seed": seed,
        "deterministic": True, "force_row_wise": True, "verbose": -1, **others,
    }  # fmt: skip
    model = lightgbm.train(options, lightgbm.Dataset(inputs, target, weight=weights), rounds)
    return Forest.of_lightgbm(model.dump_model())
