"""Files that commands read rows from, and CSV files that they write: whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.errors import OptcError

if TYPE_CHECKING:
    from optc.costmodel.predictors import Card


def read_rows(card: Card, path: Path) -> Any:
    """The rows of a file, as the kind of a predictor takes them: a CSV file's, unless the kind reads its own."""
    from optc.costmodel import kinds
    from optc.costmodel.datasets.table import read_table

    own = getattr(kinds.load(card.kind), "read_rows", None)
    return read_table(path) if own is None else own(card, path)


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file. Raises OptcError when that is impossible."""
    from optc.costmodel.training.checkpoints import write_atomically

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    try:
        write_atomically(path, text.getvalue().encode())
    except OSError as error:
        raise OptcError("the file cannot be written", where=str(path), why=error.strerror) from error
