"""TinyNAS: single convolutions on a V100 under TensorRT, in three precisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import Table, find_file, read_table
from optc.costmodel.records.description import Array, Description, Part, Records

_FILE = "tinynas_v100_conv/conv_latency.csv.gz"
_SIZES = ("batch", "in_c", "in_h", "in_w", "out_c", "kernel", "stride")
_TARGETS = ("fp32", "fp16", "int8")
_START = 1e6  # multiply-accumulates or moved elements that take about as long as starting a kernel


def describe(table: Table) -> tuple[str, Description]:
    """Sizes, arithmetic and traffic of each convolution. Raises DataError that names file and row."""
    c = {name: table.numbers(name, positive=True) for name in _SIZES}
    depthwise = np.array([cell == "Depthwise" for cell in table.text("conv_type")], float)
    height, width = np.ceil(c["in_h"] / c["stride"]), np.ceil(c["in_w"] / c["stride"])
    pixels = c["batch"] * height * width
    depth = np.where(depthwise > 0, 1.0, c["in_c"]) * c["kernel"] ** 2
    multiplies = pixels * c["out_c"] * depth
    activations = c["batch"] * c["in_h"] * c["in_w"] * c["in_c"] + pixels * c["out_c"]
    numbers = {
        **c,
        "depthwise": depthwise,
        "fused": table.numbers("elmt_fused"),
        "multiplies": np.log2(multiplies),
        "activations": np.log2(activations),
        "weights": np.log2(c["out_c"] * depth),
        "pixels": np.log2(pixels),
        "intensity": np.log2(multiplies / activations),
        "out_width": width,
    }
    return "conv", Description(numbers, {}, multiplies / 20.0 + activations + _START)


def read(data: Path) -> Records:
    """The convolutions. Raises DataError that names file and row."""
    path = find_file(data, _FILE)
    table = read_table(path, ("conv_type", *_SIZES, "elmt_fused"))
    name, described = describe(table)
    latency = {target: measured(table, target) for target in _TARGETS}
    classes = table.joined(("conv_type", *_SIZES))
    return Records.of_files({name: Part(described, latency, classes, shared=False)}, [path])


def measured(table: Table, target: str) -> Array:
    """The latencies of one precision, NaN where it was not sampled."""
    return table.numbers(f"{target}_ms", empty=True, positive=True)


SET = DataSet(
    name="tinynas_v100_conv",
    title="TinyNAS: convolutions on a V100 with TensorRT, fp32, fp16 and int8",
    upstream="github.com/alibaba/lightweight-neural-architecture-search@8ccaf88 tinynas/latency/op_profiler/V100",
    licence="Apache-2.0",
    kind="records",
    id_column="row",
    read=read,
    measured=measured,
    describe=describe,
)
