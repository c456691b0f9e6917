"""HELP (Lee et al., 2021): latencies of networks of the Once-for-All space on desktop GPUs."""

from __future__ import annotations

from optc.costmodel.architectures.measurements import reader
from optc.costmodel.datasets.dataset import DataSet

SET = DataSet(
    name="help_ofa",
    title="HELP, Once-for-All (MobileNetV3) latency",
    upstream="github.com/HayeonLee/HELP@45f70eb data/ofa",
    licence="MIT",
    kind="architectures",
    id_column="arch_idx",
    read=reader("ofa", "help_ofa/latency.csv.gz", "arch_idx", ("ks", "e", "d", "r")),
    order_column="arch_idx",
)
