"""DeepBench: matrix products and convolutions of training and inference on server processors and GPUs.

Left out: the Raspberry Pi and the phones (obsolete libraries, ten rows each) and the recurrent layers, whose source
gives times and steps in one column.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import Table, find_file, read_table
from optc.costmodel.records.description import Array, Description, Part, Records, measured_where

_FILES = {"gemm": "deepbench/gemm.csv.gz", "conv": "deepbench/conv.csv.gz"}
_SIZES = {
    "gemm": ("M", "N", "K", "ta", "tb"),
    "conv": ("W", "H", "C", "N", "K", "S", "R", "pad_w", "pad_h", "stride_w", "stride_h"),
}
_TIMES = {"gemm": "time_ms", "conv": "fwd_ms"}
_OBSOLETE = ("Raspberry_Pi_3", "iPhone_6", "iPhone_7")
_START = 1e7  # multiply-accumulates that take about as long as starting a kernel
_MOVE = 20.0  # multiply-accumulates in the time of moving one element


def describe(table: Table) -> tuple[str, Description]:
    """A matrix product, or a convolution as the product that it is. Raises DataError that names file and row."""
    name = "conv" if "stride_w" in table.columns else "gemm"
    if name == "gemm":
        rows, columns, depth = (table.numbers(column, positive=True) for column in ("M", "N", "K"))
        moved = rows * depth + depth * columns + rows * columns
        numbers = {
            "transposed_a": np.array([cell == "T" for cell in table.text("ta")], float),
            "transposed_b": np.array([cell == "T" for cell in table.text("tb")], float),
        }
    else:
        sizes = {column: table.numbers(column) for column in _SIZES["conv"]}
        width = np.floor((sizes["W"] + 2 * sizes["pad_w"] - sizes["S"]) / sizes["stride_w"]) + 1
        height = np.floor((sizes["H"] + 2 * sizes["pad_h"] - sizes["R"]) / sizes["stride_h"]) + 1
        rows, columns = np.maximum(sizes["N"] * width * height, 1.0), sizes["K"]
        depth = sizes["C"] * sizes["S"] * sizes["R"]
        moved = sizes["N"] * sizes["W"] * sizes["H"] * sizes["C"] + rows * columns + depth * columns
        numbers = {
            "window": sizes["S"] * sizes["R"],
            "stride": sizes["stride_w"],
            "in_channels": sizes["C"],
            "batch": sizes["N"],
            "width": width,
        }
    multiplies = rows * columns * depth
    numbers |= {
        "rows": np.log2(rows), "columns": np.log2(columns), "depth": np.log2(depth),
        "multiplies": np.log2(multiplies), "intensity": np.log2(multiplies / moved),
        "least": np.log2(np.minimum(np.minimum(rows, columns), depth)),
    }  # fmt: skip
    words = {column: table.text(column) for column in ("mode", "precision_note")}
    return name, Description(numbers, words, multiplies + _MOVE * moved + _START)


def read(data: Path) -> Records:
    """Both tables. Raises DataError that names file and row."""
    parts = {}
    paths = [find_file(data, file) for file in _FILES.values()]
    for name, path in zip(_FILES, paths, strict=True):
        table = _complete(read_table(path, ("device", "mode", "precision_note", _TIMES[name], *_SIZES[name])), name)
        described = describe(table)[1]
        devices = [device for device in dict.fromkeys(table.text("device")) if device not in _OBSOLETE]
        latency = {device: measured(table, device) for device in devices}
        parts[name] = Part(described, latency, table.joined(_SIZES[name]), shared=True)
    return Records.of_files(parts, paths)


def _complete(table: Table, name: str) -> Table:
    """The rows that state every size: some of the source's convolutions lack the filter's."""
    columns = [table.columns[column] for column in _SIZES[name]]
    rows = [row for row in range(table.rows) if all(column[row] for column in columns)]
    return Table(table.path, {column: [cells[row] for row in rows] for column, cells in table.columns.items()})


def measured(table: Table, target: str) -> Array:
    """The times of the rows of one device, NaN for the others."""
    column = _TIMES["conv" if "stride_w" in table.columns else "gemm"]
    return measured_where(table, column, "device", target)


SET = DataSet(
    name="deepbench",
    title="DeepBench: matrix products and convolutions on GPUs and a Xeon Phi",
    upstream="github.com/baidu-research/DeepBench@da81ba7 results",
    licence="Apache-2.0",
    kind="records",
    id_column="row",
    read=read,
    measured=measured,
    describe=describe,
)
