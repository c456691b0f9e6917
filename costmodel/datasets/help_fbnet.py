"""HELP (Lee et al., 2021): latencies of networks of the FBNet space.

raspi4, pixel3, fpga and eyeriss are sums over a table of operators in the source, not end-to-end measurements.
"""

from __future__ import annotations

from optc.costmodel.architectures.measurements import reader
from optc.costmodel.datasets.dataset import DataSet

SET = DataSet(
    name="help_fbnet",
    title="HELP, FBNet-space latency (raspi4, pixel3, fpga, eyeriss: sums over a table of operators)",
    upstream="github.com/HayeonLee/HELP@45f70eb data/fbnet",
    licence="MIT",
    kind="architectures",
    id_column="arch_idx",
    read=reader("fbnet", "help_fbnet/latency.csv.gz", "arch_idx", ("op_idx",)),
    order_column="arch_idx",
)
