"""Rows of a table as a predictor of the kind `records` sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optc.costmodel.datasets.table import Table

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Description:
    """n rows.

    Attributes:
        numbers: by name, each of shape (n,); NaN where a row does not say.
        words: by name, each of n cells.
        scale: shape (n,), a first guess of the time in any unit; what is learned is the factor to it.
    """

    numbers: Mapping[str, Array]
    words: Mapping[str, Sequence[str]]
    scale: Array

    def part(self, rows: npt.NDArray[np.int64]) -> Description:
        """Some of the rows."""
        return Description(
            {name: values[rows] for name, values in self.numbers.items()},
            {name: [cells[row] for row in rows.tolist()] for name, cells in self.words.items()},
            self.scale[rows],
        )


def measured_where(table: Table, times: str, column: str, cell: str) -> Array:
    """The column `times` of the rows that have `cell` in `column`; NaN for the others and where no time is given."""
    own = np.array([found == cell for found in table.text(column)], bool)
    values = table.numbers(times, empty=True)
    return np.where(own & (values > 0), values, np.nan)


@dataclass(frozen=True)
class Records:
    """What an importer of the kind `records` reads.

    Attributes:
        parts: tables of the set by name; each is described and learned by itself.
        digest: of the files.
    """

    parts: Mapping[str, Part]
    digest: str

    @classmethod
    def of_files(cls, parts: Mapping[str, Part], paths: Iterable[Path]) -> Records:
        """What was read from some files."""
        return cls(parts, sha256(b"".join(path.read_bytes() for path in paths)).hexdigest())


@dataclass(frozen=True)
class Part:
    """One table of a set.

    Attributes:
        described: its rows.
        latency: target → shape (n,), ms; NaN where nothing was measured.
        classes: shape (n,), what a row computes: rows with equal classes never stand on both sides of a split.
        shared: whether one forest learns all targets, told apart by name; else each target has its own.
    """

    described: Description
    latency: Mapping[str, Array]
    classes: Sequence[str]
    shared: bool
