"""NeuSight: latencies of PyTorch operators on GPUs, with the GPUs' data sheets."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import Table, find_file, read_table
from optc.costmodel.gpu_operators.families import FAMILIES
from optc.costmodel.gpu_operators.specifications import Specifications


@dataclass(frozen=True)
class GpuOperators:
    """The set.

    Attributes:
        tables: by family; beside what describes an operator: `device`, `latency_ms`, `src`.
        devices: data sheets by the names that `device` has.
        digest: of the files.
    """

    tables: dict[str, Table]
    devices: dict[str, Specifications]
    digest: str


_COLUMNS = ("Mem_Bw", "Num_Sm", "Core_Per_SM", "Freq", "SingleFLOPs", "L2Cache")


def read_devices(path: Path) -> dict[str, Specifications]:
    """The data sheets of `device_specs.csv`. Raises DataError that names file and row."""
    table = read_table(path, ("Device", *_COLUMNS))
    numbers = [table.numbers(column, positive=True) for column in _COLUMNS]
    names = table.text("Device")
    return {name: Specifications(*(float(column[row]) for column in numbers)) for row, name in enumerate(names)}


def read(data: Path) -> GpuOperators:
    """All tables. Raises DataError when a file is missing, damaged, or speaks of a GPU without data sheet."""
    folder = data / SET.name if (data / SET.name).is_dir() else data
    sheet = find_file(folder, "device_specs.csv")
    devices = read_devices(sheet)
    tables, digest = {}, sha256(sheet.read_bytes())
    for family in FAMILIES.values():
        path = find_file(folder, f"{family.name}.csv.gz")
        table = read_table(path, ("device", "latency_ms", *family.columns))
        for row, name in enumerate(table.text("device")):
            if name not in devices:
                raise table.error(row, f"'{name}' has no row in {sheet.name}", "device")
        tables[family.name] = table
        digest.update(path.read_bytes())
    return GpuOperators(tables, devices, digest.hexdigest())


SET = DataSet(
    name="neusight_gpu_ops",
    title="GPU operators of NeuSight: matrix products, convolutions, element-wise and row-wise operators, fp32",
    upstream="github.com/sitar-lab/NeuSight, commit 6945927, scripts/asplos/data/dataset",
    licence="MIT",
    kind="gpu_operators",
    id_column="op",
    read=read,
)
