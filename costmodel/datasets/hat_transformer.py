"""HAT (Wang et al., 2020): latencies of translation transformers, one file a task and device.

A file's name is the target: of encoder and decoder together; `_encoder` and `_decoder` name one of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from optc.costmodel.architectures import hat
from optc.costmodel.architectures.measurements import Measurements
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import DataError, Table, read_table

_FOLDER = "hat_transformer"
_PARTS = ("encoder", "decoder")


def read(folder: Path) -> Measurements:
    """All files of the set. Raises DataError, with file and row, for a damaged or foreign file."""
    files = sorted((folder / _FOLDER).glob("*.csv*"))
    if not files:
        raise DataError(f"there is no {_FOLDER}/*.csv", where=str(folder))
    tables = {path.name.split(".")[0]: read_table(path, hat.COLUMNS) for path in files}
    total = sum(table.rows for table in tables.values())
    latency: dict[str, np.ndarray] = {}
    start = 0
    for name, table in tables.items():
        parts = [table.numbers(f"latency_mean_{part}", positive=True) for part in _PARTS]
        for label, values in zip((name, *(f"{name}_{part}" for part in _PARTS)), (sum(parts), *parts), strict=True):
            latency[label] = np.full(total, np.nan)
            latency[label][start : start + table.rows] = values
        start += table.rows
    codes = np.concatenate([hat.read(table, "row") for table in tables.values()])
    places = np.concatenate([table.numbers("row") for table in tables.values()])
    return Measurements("hat", codes, latency, places=places)


def measured(table: Table, target: str) -> npt.NDArray[np.float64]:
    """The latencies of a file's rows: of the part that the target's name ends in, else of both parts together."""
    parts = [part for part in _PARTS if target.endswith(f"_{part}")] or _PARTS
    return np.sum([table.numbers(f"latency_mean_{part}", positive=True) for part in parts], axis=0)


SET = DataSet(
    name="hat_transformer",
    title="HAT, transformers on Raspberry Pi 4, Xeon and TITAN Xp",
    upstream="github.com/mit-han-lab/hardware-aware-transformers@70e5a27 latency_dataset",
    licence="MIT",
    kind="architectures",
    id_column="row",
    read=read,
    order_column="row",
    measured=measured,
)
