"""HELP (Lee et al., 2021): latencies of networks of the Once-for-All space on desktop GPUs."""

from __future__ import annotations

from pathlib import Path

from optc.costmodel.architectures import ofa
from optc.costmodel.architectures.measurements import Measurements, latency_columns
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import find_file, read_table

_FILE = "help_ofa/latency.csv.gz"
_DESCRIBED_BY = ("arch_idx", "ks", "e", "d", "r")


def read(folder: Path) -> Measurements:
    """All networks of the set. Raises DataError, with file and row, for a damaged or foreign file."""
    table = read_table(find_file(folder, _FILE, _FILE.removesuffix(".gz")), _DESCRIBED_BY)
    table.unique_integers("arch_idx")
    return Measurements("ofa", ofa.read(table, "arch_idx"), latency_columns(table, _DESCRIBED_BY))


SET = DataSet(
    name="help_ofa",
    title="HELP, Once-for-All (MobileNetV3) latency",
    upstream="github.com/HayeonLee/HELP@45f70eb data/ofa",
    licence="MIT",
    kind="architectures",
    id_column="arch_idx",
    read=read,
)
