"""HELP (Lee et al., 2021): latencies of NAS-Bench-201 networks on desktop, server, phone and board devices."""

from __future__ import annotations

from optc.costmodel.architectures.measurements import reader
from optc.costmodel.datasets.dataset import DataSet

SET = DataSet(
    name="help_nb201",
    title="HELP, NAS-Bench-201 latency (raspi4, pixel3, eyeriss and fpga from HW-NAS-Bench)",
    upstream="github.com/HayeonLee/HELP@45f70eb data/nasbench201/latency",
    licence="MIT",
    kind="architectures",
    id_column="arch_idx",
    read=reader("nb201", "help_nb201/latency.csv.gz", "arch_idx"),
    order_column="arch_idx",
)
