"""A CSV file as columns of text; every complaint names the file and the row."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optc.errors import OptcError, UsageError


class DataError(OptcError):
    """A data file is missing, damaged, or not of the set that it is read as."""


@dataclass(frozen=True)
class Table:
    """The columns of one file.

    Attributes:
        path: the file, for messages.
        columns: name → cells as text, all of one length, in the file's order.
    """

    path: Path
    columns: dict[str, list[str]]

    @property
    def rows(self) -> int:
        """How many rows there are, without the header."""
        return len(next(iter(self.columns.values()), []))

    def text(self, column: str) -> list[str]:
        """The cells of a column. Raises DataError when there is no such column."""
        if column not in self.columns:
            raise DataError(
                f"there is no column '{column}'",
                where=str(self.path),
                why=f"it has {', '.join(list(self.columns)[:8])}{' …' if len(self.columns) > 8 else ''}",
            )
        return self.columns[column]

    def joined(self, columns: Sequence[str]) -> list[str]:
        """The cells of several columns, row by row. Raises DataError when a column is missing."""
        return [" ".join(cells) for cells in zip(*map(self.text, columns), strict=True)]

    def numbers(self, column: str, *, empty: bool = False, positive: bool = False) -> npt.NDArray[np.float64]:
        """The cells of a column as numbers.

        Args:
            column: its name.
            empty: whether empty cells are allowed; they become NaN.
            positive: whether every number must be greater than zero.

        Raises:
            DataError: the column is missing, or a cell is no finite (or no positive) number.
        """
        found = np.empty(self.rows)
        for index, cell in enumerate(self.text(column)):
            if cell == "" and empty:
                found[index] = math.nan
                continue
            try:
                number = float(cell)
            except ValueError:
                number = math.nan
            if not math.isfinite(number) or (positive and number <= 0):
                kind = "a positive number" if positive else "a number"
                raise self.error(index, f"'{cell}' is not {kind}", column)
            found[index] = number
        return found

    def integers(self, column: str) -> npt.NDArray[np.int64]:
        """The cells of a column as whole numbers. Raises DataError as `numbers` does."""
        found = self.numbers(column)
        for index in np.flatnonzero(found != np.round(found))[:1]:
            raise self.error(int(index), f"'{self.columns[column][index]}' is not a whole number", column)
        return found.astype(np.int64)

    def unique_integers(self, column: str) -> npt.NDArray[np.int64]:
        """Whole numbers of which none occurs twice: a key. Raises DataError otherwise."""
        found = self.integers(column)
        first: dict[int, int] = {}
        for index, value in enumerate(found.tolist()):
            if first.setdefault(value, index) != index:
                raise self.error(index, f"{value} stands in row {first[value] + 2} already", column)
        return found

    def error(self, index: int, what: str, column: str | None = None) -> DataError:
        """The error of row `index` (from 0), as a line of the file (the header is line 1)."""
        place = f"{self.path}: row {index + 2}" + (f", column '{column}'" if column else "")
        return DataError(what, where=place)


def read_table(path: Path, required: Sequence[str] = ()) -> Table:
    """Read a CSV file, gzip-compressed if its name ends in `.gz`.

    Args:
        path: the file.
        required: columns that must be there.

    Raises:
        DataError: the file is missing or damaged, a row is too short or too long, or a required column is missing.
    """
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if not header or len(set(header)) != len(header):
            raise DataError("the first row does not name the columns", where=f"{path}: row 1")
        rows: list[list[str]] = []
        for row in reader:
            if len(row) != len(header):
                what = f"the row has {len(row)} cells, the header {len(header)}"
                raise DataError(what, where=f"{path}: row {len(rows) + 2}")
            rows.append(row)
    except csv.Error as error:
        raise DataError("the file is no CSV file", where=f"{path}: row {reader.line_num}", why=str(error)) from error
    columns = {name: [row[index] for row in rows] for index, name in enumerate(header)}
    table = Table(path, columns)
    for name in required:
        table.text(name)
    return table


def find_file(folder: Path, *names: str) -> Path:
    """The first of `names` under `folder`; one that ends in `.gz` may lie there unpacked.

    Raises:
        UsageError: `folder` is none.
        DataError: no file is there.
    """
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is no folder", where="--data", hint="give the folder that holds the data sets")
    forms = list(dict.fromkeys(form for name in names for form in (name, name.removesuffix(".gz"))))
    for name in forms:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"there is no {' or '.join(forms)}", where=str(folder))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError("the file cannot be read", where=str(path), why=error.strerror) from error
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            rows = _readable_rows(raw)
            raise DataError("the file is damaged", where=f"{path}: row {rows + 1}", why=str(error)) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw[: error.start].count(b"\n") + 1
        raise DataError("the file is not text", where=f"{path}: row {row}", why=str(error)) from error


def _readable_rows(raw: bytes) -> int:
    """How many rows of a damaged gzip file can be read before the damage."""
    inflate = zlib.decompressobj(wbits=31)
    rows = 0
    try:
        for start in range(0, len(raw), 1024):
            rows += inflate.decompress(raw[start : start + 1024]).count(b"\n")
    except zlib.error:
        pass
    return rows
