"""Accel-NASBench (Ahmad et al., 2023): latencies and throughputs of MnasNet-like networks on accelerators."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from optc.costmodel.architectures import anb
from optc.costmodel.architectures.measurements import Measurements
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import find_file, read_table

_FILE = "accel_nasbench/anb.csv.gz"
_ENDING = "_mean"


def read(folder: Path) -> Measurements:
    """All networks of the set; throughputs are rates. Raises DataError, with file and row, for a damaged file."""
    table = read_table(find_file(folder, _FILE), ["id", *anb.CHOICES])
    places = table.unique_integers("id").astype(np.float64)
    names = [name for name in table.columns if name.endswith(_ENDING)]
    values = {name: table.numbers(name, empty=True, positive=True) for name in names}
    rates = frozenset(name for name in names if name.startswith("throughput"))
    return Measurements("anb", anb.read(table, "id"), values, rates, places)


SET = DataSet(
    name="accel_nasbench",
    title="Accel-NASBench: latency in ms, throughput in images/s",
    upstream="github.com/afzalxo/Accel-NASBench@4260357 anb_dataset",
    licence="Apache-2.0",
    kind="architectures",
    id_column="id",
    read=read,
    order_column="id",
)
