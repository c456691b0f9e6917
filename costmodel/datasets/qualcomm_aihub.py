"""Qualcomm AI Hub: models on phones and boards with neural units; no graphs, only sizes."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import Table, find_file, read_table
from optc.costmodel.records.description import Array, Description, Part, Records, measured_where

_FILES = ("qualcomm_aihub/perf.csv.gz", "qualcomm_aihub/models_info.csv.gz")
_SETTINGS = ("precision", "runtime", "primary_unit")
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}
_PIXELS = 224.0**2  # of a model that does not state its resolution


def describe(table: Table) -> tuple[str, Description]:
    """Layers by unit, settings, and where the columns are there, parameters and resolution.

    Raises:
        DataError: a column is missing or a cell is damaged; it names file and row.
    """
    layers = {
        name: table.numbers(name, empty=True) for name in ("layers_total", "layers_npu", "layers_gpu", "layers_cpu")
    }
    memory = table.numbers("peak_mem_max_mb", empty=True)
    none = [""] * table.rows
    parameters = np.array([_count(cell) for cell in table.columns.get("Number of parameters", none)])
    pixels = np.array([_area(cell) for cell in table.columns.get("Input resolution", none)])
    numbers = {**layers, "peak_mem_max_mb": memory, "parameters": parameters, "pixels": pixels}
    words = {name: table.text(name) for name in _SETTINGS}
    return "perf", Description(numbers, words, np.ones(table.rows))


def _count(cell: str) -> float:
    found = re.match(r"([\d.]+)\s*([KMB]?)", cell.strip())
    return math.log2(float(found.group(1)) * _UNITS[found.group(2)] + 1.0) if found else math.nan


def _area(cell: str) -> float:
    found = re.match(r"(\d+)\s*x\s*(\d+)", cell.strip())
    return math.log2(float(found.group(1)) * float(found.group(2)) / _PIXELS) if found else math.nan


def with_sizes(table: Table, models: Table) -> Table:
    """The rows with what the set's other file says of their models."""
    place = {name: row for row, name in enumerate(models.text("model"))}
    columns = dict(table.columns)
    for column in ("Number of parameters", "Input resolution"):
        cells = models.text(column)
        columns[column] = [cells[place[name]] if name in place else "" for name in table.text("model")]
    return Table(table.path, columns)


def read(data: Path) -> Records:
    """All measurements. Raises DataError that names file and row."""
    paths = [find_file(data, file) for file in _FILES]
    table = with_sizes(read_table(paths[0], ("model", "device", "inference_ms", *_SETTINGS)), read_table(paths[1]))
    name, described = describe(table)
    latency = {device: measured(table, device) for device in dict.fromkeys(table.text("device"))}
    return Records.of_files({name: Part(described, latency, table.text("model"), shared=True)}, paths)


def measured(table: Table, target: str) -> Array:
    """The latencies of one device, NaN for the other rows."""
    return measured_where(table, "inference_ms", "device", target)


SET = DataSet(
    name="qualcomm_aihub",
    title="Qualcomm AI Hub: models on phones and boards, by runtime and precision",
    upstream="github.com/quic/ai-hub-models@52c080d qai_hub_models/models/*/perf.yaml",
    licence="BSD-3-Clause, Copyright 2025 Qualcomm Technologies, Inc.",
    kind="records",
    id_column="model",
    read=read,
    measured=measured,
    describe=describe,
)
