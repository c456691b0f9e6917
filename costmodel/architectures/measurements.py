"""Measured latencies of architectures of one search space on many devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optc.costmodel.architectures.space import Codes, load_space
from optc.costmodel.datasets.table import Table, find_file, read_table

SUFFIX = "_ms"


@dataclass(frozen=True)
class Measurements:
    """What an importer of the kind `architectures` reads.

    Attributes:
        space: the search space's name.
        codes: shape (n, d).
        latency: target → shape (n,), NaN where nothing was measured.
        rates: targets whose figures are rates (images a second), not times.
        places: shape (n,), of the rows in the order in which they were measured; None where it is unknown.
    """

    space: str
    codes: Codes
    latency: dict[str, npt.NDArray[np.float64]]
    rates: frozenset[str] = frozenset()
    places: npt.NDArray[np.float64] | None = None

    def digest(self) -> str:
        """What identifies the data."""
        hashed = sha256(self.codes.tobytes())
        for name in sorted(self.latency):
            hashed.update(name.encode() + self.latency[name].tobytes())
        return hashed.hexdigest()


def reader(space: str, file: str, id_column: str, described_by: Sequence[str] = ()) -> Callable[[Path], Measurements]:
    """The importer of one file whose ids number the rows in the order of measurement.

    Args:
        space: the search space's name.
        file: under the folder of all sets, compressed or not.
        id_column: whole numbers, each once.
        described_by: further columns that are no measurements.
    """

    def read(folder: Path) -> Measurements:
        """All networks of the set. Raises DataError, with file and row, for a damaged or foreign file."""
        table = read_table(find_file(folder, file), [id_column, *described_by])
        places = table.unique_integers(id_column).astype(np.float64)
        codes = load_space(space).read(table, id_column)
        return Measurements(space, codes, latency_columns(table, [id_column, *described_by]), places=places)

    return read


def latency_columns(table: Table, described_by: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Every column that does not describe the architecture, as measurements; empty cells are NaN.

    Args:
        table: the file.
        described_by: columns that are no measurements.

    Raises:
        DataError: a cell is neither empty nor a positive number; the message names file and row.
    """
    names = [name for name in table.columns if name not in described_by]
    return {name.removesuffix(SUFFIX): table.numbers(name, empty=True, positive=True) for name in names}


def measured_column(table: Table, target: str) -> npt.NDArray[np.float64]:
    """The measurements of one target. Raises DataError when the table has none."""
    name = target + SUFFIX if target + SUFFIX in table.columns else target
    return table.numbers(name, empty=True, positive=True)
