"""Ensembles of oblivious decision trees: all nodes of one depth ask the same question, so a tree is a table look-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ObliviousTrees:
    """A sum of trees of equal depth.

    Attributes:
        features: shape (trees, depth), the column that each level compares.
        borders: shape (trees, depth), what it compares with; the answer is whether the value is larger.
        leaves: shape (trees, 2**depth), float32; the answers are the bits of the leaf's number, the first the lowest.
        bias: added to the sum.
        scale: of the leaves.
    """

    features: npt.NDArray[np.int32]
    borders: npt.NDArray[np.float32]
    leaves: npt.NDArray[np.float32]
    bias: float
    scale: float = 1.0

    def predict(self, rows: Floats) -> Floats:
        """Shape (n, columns) to (n,)."""
        trees, depth = self.features.shape
        columns = np.ascontiguousarray(np.asarray(rows, np.float32).T)
        place = np.zeros((trees, columns.shape[1]), np.int32)
        for level in range(depth):
            answers = columns[self.features[:, level]] > self.borders[:, level, None]
            place |= answers.view(np.int8).astype(np.int32) << level
        place += (np.arange(trees, dtype=np.int32) << depth)[:, None]
        total = np.take(self.leaves.reshape(-1), place).sum(axis=0, dtype=np.float64)
        return total * self.scale + self.bias

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """For a model file."""
        return {
            f"{prefix}.features": self.features,
            f"{prefix}.borders": self.borders,
            f"{prefix}.leaves": self.leaves,
            f"{prefix}.constants": np.array([self.bias, self.scale]),
        }

    @staticmethod
    def of_arrays(arrays: dict[str, npt.NDArray[Any]], prefix: str) -> ObliviousTrees:
        """What `arrays` gave."""
        bias, scale = arrays[f"{prefix}.constants"]
        return ObliviousTrees(
            arrays[f"{prefix}.features"],
            arrays[f"{prefix}.borders"],
            arrays[f"{prefix}.leaves"],
            float(bias),
            float(scale),
        )

    @staticmethod
    def of_catboost(model: dict[str, Any]) -> ObliviousTrees:
        """From CatBoost's JSON export of a model with numeric columns; shallower trees are filled up."""
        trees = model["oblivious_trees"]
        depth = max([1, *(len(tree.get("splits") or ()) for tree in trees)])
        features = np.zeros((len(trees), depth), np.int32)
        borders = np.full((len(trees), depth), np.inf, np.float32)
        leaves = np.zeros((len(trees), 1 << depth), np.float32)
        for number, tree in enumerate(trees):
            splits = tree.get("splits") or ()
            for level, split in enumerate(splits):
                features[number, level] = split["float_feature_index"]
                borders[number, level] = split["border"]
            leaves[number, : 1 << len(splits)] = tree["leaf_values"]
        scale, bias = model["scale_and_bias"]
        return ObliviousTrees(features, borders, leaves, float(np.ravel(bias)[0]), float(scale))
