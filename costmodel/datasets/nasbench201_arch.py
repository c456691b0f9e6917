"""The index of NAS-Bench-201: which cell each number stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from optc.costmodel.architectures import nb201
from optc.costmodel.architectures.measurements import Measurements
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import find_file, read_table

_FILE = "nasbench201_arch/nb201_archs.csv.gz"


def read(folder: Path) -> Measurements:
    """The cells of the index, without measurements.

    Raises:
        DataError: a row's cell differs from the published index.
    """
    table = read_table(find_file(folder, _FILE), ["arch_idx", "op_vector"])
    codes = nb201.read(table, "arch_idx")
    indices = table.unique_integers("arch_idx")
    for row in np.flatnonzero((codes != nb201.index_table()[indices]).any(1))[:1]:
        expected = "".join(map(str, nb201.index_table()[indices[row]]))
        raise table.error(int(row), f"the benchmark's architecture {indices[row]} is {expected}", "op_vector")
    return Measurements("nb201", codes, {})


SET = DataSet(
    name="nasbench201_arch",
    title="NAS-Bench-201: architectures by index",
    upstream="github.com/HayeonLee/HELP@45f70eb data/nasbench201/str_arch2idx.pt",
    licence="MIT",
    kind="architectures",
    id_column="arch_idx",
    read=read,
)
