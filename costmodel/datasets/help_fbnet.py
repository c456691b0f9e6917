"""HELP (Lee et al., 2021): latencies of networks of the FBNet space.

raspi4, pixel3, fpga and eyeriss are sums over a table of operators in the source, not end-to-end measurements.
"""

from __future__ import annotations

from pathlib import Path

from optc.costmodel.architectures import fbnet
from optc.costmodel.architectures.measurements import Measurements, latency_columns
from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import find_file, read_table

_FILE = "help_fbnet/latency.csv.gz"


def read(folder: Path) -> Measurements:
    """All networks of the set. Raises DataError, with file and row, for a damaged or foreign file."""
    table = read_table(find_file(folder, _FILE, _FILE.removesuffix(".gz")), ["arch_idx", fbnet.COLUMN])
    table.unique_integers("arch_idx")
    return Measurements("fbnet", fbnet.read(table, "arch_idx"), latency_columns(table, ["arch_idx", fbnet.COLUMN]))


SET = DataSet(
    name="help_fbnet",
    title="HELP, FBNet-space latency (raspi4, pixel3, fpga, eyeriss: sums over a table of operators)",
    upstream="github.com/HayeonLee/HELP@45f70eb data/fbnet",
    licence="MIT",
    kind="architectures",
    id_column="arch_idx",
    read=read,
)
