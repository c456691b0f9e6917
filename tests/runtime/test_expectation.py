"""What a run should take now: the prediction, the state of the machine, and the call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import optc
from optc.costmodel.kernels.machine import machine_class
from optc.costmodel.state import Rates, State
from optc.runtime.expectation import expectation
from optc.runtime.loaded import Artifact
from optc.targets import load

RATES = Rates(1e11, 1e11, 5e10, 1e10)
SLOW = replace(RATES, memory=5e9)
LEVELS = {
    "rates": RATES.to_dict(),
    "seconds": dict.fromkeys(("inner", "last", "kept", "written", "stored"), 0.0)
    | {"arithmetic": 2e-3, "memory": 1e-3},
    "reuse": 1.0,
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifact]:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("expectation")
    onnx.save(model, path / "neg.onnx")
    with optc.compile(path / "neg.onnx", output=path / "neg", tune=0, verify=False, threads=1) as made:
        yield made


def stating(artifact: Artifact, **cost: object) -> Artifact:
    artifact.manifest = replace(artifact.manifest, cost=cost)
    return artifact


def test_a_slower_level_adds_what_it_adds(artifact: Artifact) -> None:
    levels = {**LEVELS, "machine": machine_class(load("cpu"))}
    found = expectation(stating(artifact, predicted_seconds=3e-3, levels=levels), State(SLOW, SLOW))
    assert found is not None and found.kernels == 3e-3 and found.call > 0
    assert found.now == pytest.approx(4e-3 + found.call) and found.why == "memory 50% slower"
    assert found.to_dict()["state"]["typical"]["memory"] == 5e9


@pytest.mark.parametrize("levels", [None, {**LEVELS, "machine": "another"}])
def test_without_rates_of_this_machine_only_the_call_is_added(artifact: Artifact, levels: object) -> None:
    found = expectation(stating(artifact, predicted_seconds=3e-3, levels=levels), State(SLOW, SLOW))
    assert found is not None and found.now == pytest.approx(3e-3 + found.call) and found.why == ""


def test_where_nothing_was_predicted_nothing_is_expected(artifact: Artifact) -> None:
    assert expectation(stating(artifact)) is None


def test_a_call_without_kernels_leaves_the_model_as_it_is(artifact: Artifact) -> None:
    x = np.arange(4, dtype=np.float32)
    assert artifact.call_seconds() > 0
    np.testing.assert_array_equal(artifact.run({"x": x})["y"], -x)
