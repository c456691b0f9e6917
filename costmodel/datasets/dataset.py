"""What a data set is: a file of this package that defines `SET`; the file's name is the set's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.datasets.table import Table
from optc.costmodel.records.description import Description
from optc.errors import UsageError


@dataclass(frozen=True)
class DataSet:
    """A public set of measurements.

    Attributes:
        name: of the importer's file, and of the folder under `--data`.
        title: what it is, for people.
        upstream: where a user gets it: address, commit, path.
        licence: under which the upstream publishes it.
        kind: which predictors it trains: a key of `optc.costmodel.kinds.KINDS`.
        id_column: the column that names a row in CSV files of candidates.
        read: a folder that holds the set's folder(s) → the measurements, in the form that the kind expects.
        unit: of the measurements.
        order_column: numbers rows in the order of measurement, where there is such a column: devices drift.
        describe: a file with the columns of one of the set's tables → that table's name and its rows, for the kind
            `records`.
        measured: a file of the set and a target → its measurements, where they are no column of the target's name.
    """

    name: str
    title: str
    upstream: str
    licence: str
    kind: str
    id_column: str
    read: Callable[[Path], Any]
    unit: str = "ms"
    order_column: str = ""
    describe: Callable[[Table], tuple[str, Description]] | None = None
    measured: Callable[[Table, str], npt.NDArray[np.float64]] | None = None


def available() -> list[str]:
    """The names of all sets."""
    import optc.costmodel.datasets as package

    modules = [name for _, name, _ in iter_modules(package.__path__)]
    return [name for name in modules if hasattr(import_module(f"{package.__name__}.{name}"), "SET")]


def load(name: str) -> DataSet:
    """The set of a name. Raises UsageError when there is none."""
    if name not in available():
        raise UsageError(f"no data set is called '{name}'", where="--set", hint=f"one of {', '.join(available())}")
    found: DataSet = import_module(f"optc.costmodel.datasets.{name}").SET
    return found
