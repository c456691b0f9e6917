"""Words as numbers: each becomes the mean of what is learned over the rows that have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optc.costmodel.records.description import Array, Description

_PRIOR = 10.0  # rows that the overall mean weighs
_FOLDS = 5
TARGET = "target"


@dataclass(frozen=True)
class Encoding:
    """How rows become the columns that trees compare.

    Attributes:
        numbers: names of the numeric columns, in order.
        words: by name of a column of words, in order: the number of each word; an unknown word has that of `""`.
    """

    numbers: tuple[str, ...]
    words: Mapping[str, Mapping[str, float]]

    def matrix(self, described: Description) -> npt.NDArray[np.float32]:
        """Shape (n, columns)."""
        columns = [described.numbers[name] for name in self.numbers]
        columns += [
            np.array([known.get(cell, known[""]) for cell in described.words[name]])
            for name, known in self.words.items()
        ]
        return np.nan_to_num(np.stack(columns, axis=1), nan=-1.0).astype(np.float32)

    def familiar(self, described: Description) -> npt.NDArray[np.bool_]:
        """Whether all words of each row are known."""
        found = np.ones(len(described.scale), bool)
        for name, known in self.words.items():
            found &= np.array([cell in known for cell in described.words[name]])
        return found


def learn(described: Description, factor: Array, classes: Sequence[str]) -> tuple[Encoding, npt.NDArray[np.float32]]:
    """The encoding of training rows, and their matrix.

    A training row's word is encoded by the classes of other folds, as it will be for rows of new classes: else trees
    would trust words that occur in few classes. (Leaving out a row's own class alone would tell the row's own factor.)
    """
    overall = float(factor.mean())
    labels, label = np.unique(np.array(classes), return_inverse=True)
    fold = (np.random.default_rng(0).permutation(len(labels)) % _FOLDS)[label.reshape(-1)]
    words: dict[str, dict[str, float]] = {}
    columns = list(described.numbers.values())
    for name, cells in described.words.items():
        unique, found = np.unique(np.array(cells), return_inverse=True)
        index = found.reshape(-1)
        means = _means(index, factor, len(unique), overall)
        words[name] = {str(word): float(mean) for word, mean in zip(unique, means, strict=True)} | {"": overall}
        column = np.empty(len(index))
        for number in range(_FOLDS):
            own = fold == number
            column[own] = _means(index[~own], factor[~own], len(unique), overall)[index[own]]
        columns.append(column)
    encoding = Encoding(tuple(described.numbers), words)
    return encoding, np.nan_to_num(np.stack(columns, axis=1), nan=-1.0).astype(np.float32)


def _means(index: npt.NDArray[np.intp], factor: Array, words: int, overall: float) -> Array:
    """The mean of each word, pulled towards that of all."""
    sums, counts = np.bincount(index, factor, words), np.bincount(index, minlength=words)
    return np.asarray((sums + _PRIOR * overall) / (counts + _PRIOR))
