"""ncnn's benchmark tables: whole networks on about a hundred boards, with the networks' graphs."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.datasets.dataset import DataSet
from optc.costmodel.datasets.table import DataError, Table, find_file, read_table
from optc.costmodel.networks.ncnn_param import Layer, Network
from optc.costmodel.networks.runs import Configuration, configurations

Array = npt.NDArray[np.float64]
GRAPHS, LATENCIES = ("models.json.gz", "models.json"), ("ncnn_latency.csv.gz", "ncnn_latency.csv")


@dataclass(frozen=True)
class BoardRuns:
    """The set.

    Attributes:
        networks: graphs by name.
        runs: the configuration of each run of the benchmark.
        families: of the networks that were measured; a network and its int8 form are one family.
        latency: shape (runs, networks), ms, the shortest of the run's repetitions; NaN where nothing was measured.
        digest: of the files.
    """

    networks: dict[str, Network]
    runs: list[Configuration]
    families: dict[str, str]
    latency: Array
    digest: str


def read(data: Path) -> BoardRuns:
    """All graphs and runs. Raises DataError that names the file and the row or the graph."""
    folder = data / SET.name if (data / SET.name).is_dir() else data
    graphs, latencies = find_file(folder, *GRAPHS), find_file(folder, *LATENCIES)
    networks = read_networks(graphs)
    table = read_table(latencies, ("model", "device", "min_ms", "family"))
    runs, of_row = configurations(table)
    place = {name: index for index, name in enumerate(networks)}
    latency = np.full((len(runs), len(networks)), np.nan)
    times = table.numbers("min_ms")
    for row, (name, run) in enumerate(zip(table.text("model"), of_row, strict=True)):
        # Networks whose graphs were never published teach nothing, nor do times below the clock's resolution.
        if name in place and times[row] > 0:
            latency[run, place[name]] = times[row]
    families = dict(zip(table.text("model"), table.text("family"), strict=True))
    digest = sha256(graphs.read_bytes() + latencies.read_bytes()).hexdigest()
    return BoardRuns(networks, runs, families, latency, digest)


def read_networks(path: Path) -> dict[str, Network]:
    """The graphs of `models.json`. Raises DataError that names the file and the graph."""
    try:
        raw = path.read_bytes()
        content = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError("the graphs cannot be read", where=str(path), why=str(error)) from error
    if not isinstance(content, dict):
        raise DataError("the file holds no graphs by name", where=str(path))
    found = {}
    for name, graph in content.items():
        try:
            found[name] = _network(name, graph)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError("this is no graph", where=f"{path}: {name}", why=repr(error)) from error
    return found


def _network(name: str, graph: Mapping[str, Any]) -> Network:
    width, height, channels = graph["input_whc"]
    layers = tuple(
        Layer(each["type"], each["name"], tuple(each["inputs"]), tuple(each["outputs"]), _parameters(each["params"]))
        for each in graph["layers"]
    )
    return Network(name, layers, (int(width), int(height), int(channels)))


def _parameters(given: Mapping[str, Any]) -> dict[int, Any]:
    found = {int(key): value for key, value in given.items()}
    for value in found.values():
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError(f"{value!r} is no parameter")
    return found


def measured_latency(table: Table) -> Array:
    """The column of a table that holds measurements: `latency_ms`, or this set's own. NaN where not positive."""
    column = "latency_ms" if "latency_ms" in table.columns else "min_ms"
    found = table.numbers(column, empty=True)
    return np.where(found > 0, found, np.nan)


SET = DataSet(
    name="ncnn_bench",
    title="whole networks on boards: ncnn's benchmark, float and int8, processors and Vulkan",
    upstream="github.com/Tencent/ncnn, commit a4d2ea1, benchmark/README.md and benchmark/models",
    licence="BSD-3-Clause, Copyright (C) 2017 Tencent",
    kind="networks",
    id_column="model",
    read=read,
)
