"""Vidur: operators of large language models' layers on data-centre GPUs, fp16, by tokens and tensor parallelism.

A target is a GPU and an operator: `a100/mlp_up_proj`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import Table, find_file, read_table
from optc.costmodel.records.description import Array, Description, Part, Records, measured_where

_FILE = "vidur_llm_ops/mlp_ops.csv.gz"
_SIZES = ("n_head", "n_kv_head", "n_embd", "n_expanded_embd", "vocab_size", "num_tokens", "num_tensor_parallel_workers")
_SUFFIX = "_ms"
_START = 64.0  # tokens that take about as long as starting a kernel


def describe(table: Table) -> tuple[str, Description]:
    """Sizes of the model and of its share on one worker. Raises DataError that names file and row."""
    c = {name: table.numbers(name, positive=True) for name in _SIZES}
    workers, tokens = c["num_tensor_parallel_workers"], c["num_tokens"]
    numbers = {
        **c,
        "heads_here": c["n_head"] / workers,
        "width_here": c["n_embd"] / workers,
        "expanded_here": c["n_expanded_embd"] / workers,
        "gated": np.array([cell == "True" for cell in table.text("use_gated_mlp")], float),
        "tiles": np.ceil(tokens / 128),
    }
    return "mlp_ops", Description(numbers, {}, (tokens + _START) * c["n_embd"] / workers)


def read(data: Path) -> Records:
    """All operators. Raises DataError that names file and row."""
    path = find_file(data, _FILE)
    table = read_table(path, ("gpu", "model", "use_gated_mlp", *_SIZES))
    name, described = describe(table)
    operators = [column.removesuffix(_SUFFIX) for column in table.columns if column.endswith(_SUFFIX)]
    targets = [f"{gpu}/{operator}" for gpu in dict.fromkeys(table.text("gpu")) for operator in operators]
    latency = {target: measured(table, target) for target in targets}
    classes = table.joined(("model", "num_tokens"))
    return Records.of_files({name: Part(described, latency, classes, shared=False)}, [path])


def measured(table: Table, target: str) -> Array:
    """The latencies of one operator on one GPU, NaN for the other rows."""
    gpu, _, operator = target.partition("/")
    return measured_where(table, operator + _SUFFIX, "gpu", gpu)


SET = DataSet(
    name="vidur_llm_ops",
    title="Vidur: operators of language models on A40, A100 and H100, fp16",
    upstream="github.com/microsoft/vidur@7d47513 data/profiling/compute",
    licence="MIT",
    kind="records",
    id_column="row",
    read=read,
    measured=measured,
    describe=describe,
)
