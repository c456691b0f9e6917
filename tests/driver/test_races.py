"""Blocks and the kernels that they replace are compiled, timed, and remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optc.backends import kernel_backend
from optc.driver.options import CompileOptions
from optc.driver.races import Races
from optc.ir.core import Graph, Operation
from optc.ir.dtypes import FLOAT32
from optc.ir.types import Layout, TensorType
from optc.ops.inference import make_operation
from optc.passes.fusion.build import fuse, joined
from optc.targets import load

BLOCKED = Layout(blocks=((1, 8),))


def separable() -> tuple[Operation, list[Operation]]:
    """A block of a depthwise and a pointwise convolution, and the two."""
    graph = Graph("main")
    data = graph.add_input("x", TensorType(FLOAT32, (1, 8, 12, 10), BLOCKED))
    filters = graph.constant(np.ones((8, 1, 3, 3), np.float32), "filters")
    weights = graph.constant(np.ones((16, 8, 1, 1), np.float32), "weights")
    for weight, attributes in ((filters, {"group": 8, "pads": (1, 1, 1, 1)}), (weights, {})):
        data = graph.append(make_operation("onnx.Conv", [data, weight], attributes)).result
        data.type = data.tensor_type.with_layout(BLOCKED)
    graph.set_outputs([data])
    parts = [fuse([operation]) for operation in list(graph) if operation.name == "onnx.Conv"]
    return joined(parts), parts


def test_times_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    seen: list[str] = []
    options = CompileOptions(budget=5.0, threads=2, progress=lambda what, *_: seen.append(what))
    races = Races(kernel_backend("tvm"), replace(load("cpu"), cores=2), options)
    times = races([separable()])
    assert times is not None and times[0] is not None
    assert min(times[0]) > 0.0
    assert "measuring blocks" in seen
    seen.clear()
    assert races([separable()]) == times
    assert not seen


def test_nothing_is_timed_without_a_budget_or_for_another_machine() -> None:
    backend = kernel_backend("tvm")
    assert Races(backend, load("cpu"), CompileOptions(budget=0.0))([separable()]) is None
    assert Races(backend, load("rpi4"), CompileOptions(budget=5.0))([separable()]) is None
