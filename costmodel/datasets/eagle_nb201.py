"""Eagle (LatBench of BRP-NAS, Dudziak et al., 2020): latencies of NAS-Bench-201 networks on edge devices."""

from __future__ import annotations

from optc.costmodel.architectures.measurements import reader
from optc.costmodel.datasets.dataset import DataSet

SET = DataSet(
    name="eagle_nb201",
    title="Eagle (LatBench), NAS-Bench-201 latency",
    upstream="github.com/SamsungLabs/eagle (data set linked in its README)",
    licence="Apache-2.0 (repository; the data set states none)",
    kind="architectures",
    id_column="arch_idx",
    read=reader("nb201", "eagle_nb201/latency.csv.gz", "arch_idx"),
    order_column="arch_idx",
)
