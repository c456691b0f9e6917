"""MLPerf Tiny: latency and energy of an inference on microcontrollers and small accelerators."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import Table, find_file, read_table

STREAMING = "sww"  # its energies are on another scale


@dataclass(frozen=True)
class EnergyMeasurements:
    """Runs of which the energy was measured; every array has shape (n,).

    Attributes:
        systems: their names.
        benchmarks: names of the networks.
        latency: of an inference in the same run as the energy, ms.
        energy: of an inference, uJ.
        rows: where they stand in the table, from 0.
        digest: of the file.
    """

    systems: npt.NDArray[np.str_]
    benchmarks: npt.NDArray[np.str_]
    latency: npt.NDArray[np.float64]
    energy: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    digest: str = ""


def measurements(table: Table) -> EnergyMeasurements:
    """The rows of a table that have both energy and latency. Raises DataError that names file and row."""
    energy = table.numbers("energy_uJ", empty=True, positive=True)
    if "throughput_energy_mode_ips" in table.columns:
        # The energy run may use another clock than the one that measures speed.
        own = 1e3 / table.numbers("throughput_energy_mode_ips", empty=True, positive=True)
    else:
        own = np.full(table.rows, np.nan)
    latency = np.where(np.isnan(own), table.numbers("latency_ms", empty=True, positive=True), own)
    benchmarks = np.array(table.text("benchmark"))
    kept = np.flatnonzero(~np.isnan(energy) & ~np.isnan(latency) & (benchmarks != STREAMING))
    systems = np.array(table.text("system"))
    return EnergyMeasurements(systems[kept], benchmarks[kept], latency[kept], energy[kept], kept)


def read(data: Path) -> EnergyMeasurements:
    """The set. Raises DataError when the file is missing or damaged; it names the row."""
    path = find_file(data / SET.name if (data / SET.name).is_dir() else data, "results.csv")
    found = measurements(read_table(path, ("system", "benchmark", "latency_ms", "energy_uJ")))
    return EnergyMeasurements(
        found.systems, found.benchmarks, found.latency, found.energy, found.rows, sha256(path.read_bytes()).hexdigest()
    )


SET = DataSet(
    name="mlperf_tiny",
    title="energy of an inference on microcontrollers, derived from public submissions to MLPerf Tiny v0.7-v1.3",
    upstream="github.com/mlcommons/tiny_results_v0.7@64623f4, v1.0@c7761cf, v1.1@c32ef94, v1.2@cadb362, v1.3@cd605ea",
    licence="Apache-2.0",
    kind="energy",
    id_column="benchmark",
    read=read,
    unit="energy_uJ",
)
