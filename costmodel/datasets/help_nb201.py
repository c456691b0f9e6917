"""HELP (Lee et al., 2021): latencies of NAS-Bench-201 networks on desktop, server, phone and board devices."""

from __future__ import annotations

from pathlib import Path

from optc.costmodel.architectures import nb201
from optc.costmodel.architectures.measurements import Measurements, latency_columns
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import find_file, read_table

_FILE = "help_nb201/latency.csv.gz"


def read(folder: Path) -> Measurements:
    """All networks of the set. Raises DataError, with file and row, for a damaged or foreign file."""
    table = read_table(find_file(folder, _FILE, _FILE.removesuffix(".gz")), ["arch_idx"])
    table.unique_integers("arch_idx")
    return Measurements("nb201", nb201.read(table, "arch_idx"), latency_columns(table, ["arch_idx"]))


SET = DataSet(
    name="help_nb201",
    title="HELP, NAS-Bench-201 latency (raspi4, pixel3, eyeriss and fpga from HW-NAS-Bench)",
    upstream="github.com/HayeonLee/HELP@45f70eb data/nasbench201/latency",
    licence="MIT",
    kind="architectures",
    id_column="arch_idx",
    read=read,
)
