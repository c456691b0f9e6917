"""Ensembles of oblivious decision trees: all nodes of one depth ask the same question, so a tree is a table look-up.

A function in C evaluates them (`trees.c`), NumPy where there is no C compiler; both add in the same order.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optc import native
from optc.errors import OptcError

Floats = npt.NDArray[np.floating[Any]]


TOGETHER = 64  # trees evaluated side by side: their answers for a thousand rows stay in a second-level cache; as in C


@dataclass(frozen=True)
class ObliviousTrees:
    """A sum of trees of equal depth, at most 8.

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
        values = np.ascontiguousarray(rows, np.float32)
        return self._sums(values, _compiled()).astype(np.float64) * self.scale + self.bias

    def _sums(self, rows: npt.NDArray[np.float32], compiled: Any) -> npt.NDArray[np.float32]:
        """The sum of the leaves, by the function in C if it is given."""
        total = np.zeros(len(rows), np.float32)
        if compiled is None:
            columns = np.ascontiguousarray(rows.T)
            for first in range(0, len(self.features), TOGETHER):
                total += self._sum(columns, slice(first, first + TOGETHER))
            return total
        trees, depth = self.features.shape
        stored = [np.ascontiguousarray(each) for each in (self.features, self.borders, self.leaves)]
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (rows, *stored, total)]
        sizes = [ctypes.c_int64(size) for size in (*rows.shape, trees, depth)]
        if compiled(pointers[0], *sizes[:2], *pointers[1:4], *sizes[2:], pointers[4]):
            raise MemoryError("no memory is left to evaluate trees in")
        return total

    def _sum(self, columns: npt.NDArray[np.float32], part: slice) -> npt.NDArray[np.float32]:
        """The leaves of some trees, summed; the answers of a tree are the bits of one byte."""
        features, borders, leaves = self.features[part], self.borders[part], self.leaves[part]
        place = np.zeros((len(features), columns.shape[1]), np.uint8)
        for level in range(features.shape[1]):
            answers = columns[features[:, level]] > borders[:, level, None]
            place |= answers.view(np.uint8) << np.uint8(level)
        offsets = np.arange(len(features), dtype=np.int32)[:, None] * leaves.shape[1]
        return np.asarray(np.take(leaves.reshape(-1), place + offsets).sum(axis=0))

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


@functools.cache
def _compiled() -> Any:
    """The function in C; None where it cannot be built."""
    try:
        return native.library("optc.costmodel.kernels", "trees.c", "-O3").optc_trees
    except (OptcError, OSError):
        return None
