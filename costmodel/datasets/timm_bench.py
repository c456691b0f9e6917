"""timm: inference of image models on desktop GPUs and a processor, from the sizes that its tables give."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import Table, find_file, read_table
from optc.costmodel.records.description import Array, Description, Part, Records, measured_where

_FILE = "timm_bench/infer.csv.gz"
_SIZES = ("infer_batch_size", "infer_img_size", "infer_gmacs", "infer_macts", "param_count")
_SETTINGS = ("precision", "layout", "torch", "compile")
_MOVE = 0.1  # thousand million multiply-accumulates in the time of moving a million activations


def describe(table: Table) -> tuple[str, Description]:
    """Sizes and settings, and the beginnings of the model's name: its family. Raises DataError that names the row."""
    batch, side, macs, activations, parameters = (table.numbers(name, empty=True) for name in _SIZES)
    macs, activations = np.maximum(macs, 1e-3), np.maximum(activations, 1e-3)
    # Rows without counts of work: about as many activations as multiply-accumulates, one of which for each parameter.
    counted = np.where(np.isnan(macs), np.maximum(parameters, 1e-3), macs)
    work = counted + _MOVE * np.where(np.isnan(activations), counted, activations)
    numbers = {
        "batch": batch, "side": side, "macs": np.log2(macs), "activations": np.log2(activations),
        "parameters": np.log2(np.maximum(parameters, 1e-3)), "intensity": np.log2(macs / activations),
        "weights_per_mac": np.log2(np.maximum(parameters, 1e-3) / macs),
    }  # fmt: skip
    names = table.text("model")
    words = {name: table.text(name) for name in _SETTINGS}
    words["family"] = [family_of(name) for name in names]
    words["branch"] = ["_".join(re.split(r"[_.]", name)[:2]) for name in names]
    return "infer", Description(numbers, words, batch * (work + 0.01))


def family_of(model: str) -> str:
    """The letters that a model's name begins with."""
    found = re.match(r"[a-z]+", model.lower())
    return found.group() if found else model


def read(data: Path) -> Records:
    """All rows. Raises DataError that names file and row."""
    path = find_file(data, _FILE)
    table = read_table(path, ("model", "device", "infer_step_time", *_SIZES, *_SETTINGS))
    name, described = describe(table)
    devices = list(dict.fromkeys(table.text("device")))
    latency = {device: measured(table, device) for device in devices}
    classes = [cell.split(".")[0] for cell in table.text("model")]
    return Records.of_files({name: Part(described, latency, classes, shared=True)}, [path])


def measured(table: Table, target: str) -> Array:
    """The times of a batch on one device, NaN for the other rows."""
    return measured_where(table, "infer_step_time", "device", target)


SET = DataSet(
    name="timm_bench",
    title="timm: image models on GPUs and a Core i9, ms a batch",
    upstream="github.com/huggingface/pytorch-image-models@aa4b585 results/benchmark-infer-*.csv",
    licence="Apache-2.0",
    kind="records",
    id_column="model",
    read=read,
    measured=measured,
    describe=describe,
)
