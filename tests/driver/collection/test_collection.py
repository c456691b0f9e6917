"""Collecting kernels on this machine: real builds, real runs, and nothing measured twice."""

from __future__ import annotations

import os
import time
from pathlib import Path

import onnx
import pytest
from collection_kit import backend, small_workloads
from kill_kit import killed_and_resumed

from optc.costmodel.kernels.machine import fingerprint_of
from optc.costmodel.kernels.schema import MEASURED
from optc.costmodel.kernels.store import RowStore, models_of, states_of
from optc.costmodel.state import probe
from optc.driver.collection.networks import random_network
from optc.driver.collection.session import Settings, collect, noting
from optc.driver.collection.workloads import (
    VARIANTS,
    KernelWorkload,
    NamedModel,
    sample,
    workload_class,
)
from optc.targets import load

parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_are_valid_and_reproducible(seed: int) -> None:
    model = random_network(seed)
    onnx.checker.check_model(model, full_check=True)
    assert model.SerializeToString() == random_network(seed).SerializeToString()


def test_workloads_are_plain_text_that_gives_the_group_back() -> None:
    for workload in small_workloads():
        group = workload.group()
        assert KernelWorkload(workload.ir, tuple(sorted(group.constants)), "x").key == workload.key


def test_the_class_ignores_neighbours_and_layouts() -> None:
    plain = "graph @g(%0: tensor<1x8x4x4xf32>, %1: tensor<8x8x1x1xf32>) -> () {{\n{body}}}\n"
    conv = (
        '  %2 = onnx.Conv(%0, %1) {{auto_pad = "NOTSET", dilations = [1, 1], group = 1, kernel_shape = [1, 1], '
        "pads = [0, 0, 0, 0], strides = [1, 1]}} : tensor<1x8x4x4xf32{layout}>\n"
    )
    first = plain.format(body=conv.format(layout="") + "  return %2\n")
    blocked = conv.format(layout=", block(1, 8)")
    relu = "  %3 = onnx.Relu(%2) : tensor<1x8x4x4xf32, block(1, 8)>\n  return %3\n"
    second = plain.format(body=blocked + relu)
    classes = {workload_class(KernelWorkload(text, (1,), "x").group().body) for text in (first, second)}
    assert len(classes) == 1


def test_collecting_twice_measures_once(tmp_path: Path) -> None:
    store, target, workloads = RowStore(tmp_path), load("cpu"), small_workloads()
    settings = Settings(budget=60.0, points=2, batch=3)
    first = collect(store, workloads, target, settings)
    assert first.workloads == len(workloads) and first.failed == 0
    rows = list(store.rows())
    assert first.rows == len(rows) == len({row.key for row in rows}) > 0
    for row in rows:
        assert row.status == MEASURED and 0 < row.near_least <= row.near_median <= row.near_high
        assert row.anchor > 0 and row.rounds >= 4 and row.noise >= 0
    again = collect(store, workloads, target, settings)
    assert (again.rows, again.workloads) == (0, 0) and list(store.rows()) == rows
    states = states_of([tmp_path]).get(fingerprint_of(target), [])
    assert bool(states) == (probe(target, rounds=1) is not None)


def test_a_collection_that_is_killed_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    target, workloads = load("cpu"), small_workloads()
    settings = Settings(budget=120.0, points=2, batch=1)
    whole = RowStore(tmp_path / "whole")
    start = time.monotonic()
    collect(whole, workloads, target, settings)
    store = RowStore(tmp_path / "killed")
    killed = killed_and_resumed(
        lambda: collect(store, workloads, target, settings), kills=4, longest=0.6 * (time.monotonic() - start)
    )
    assert killed > 0
    stored = [key for part in store.parts() for key in parquet.read_table(part).column("key").to_pylist()]
    assert len(stored) == len(set(stored)) and set(stored) == whole.keys()
    assert {row.status for row in store.rows()} == {MEASURED}
    assert not list(store.folder.glob(".part-*"))


def test_models_are_sampled_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(random_network(1), path)
    store = RowStore(tmp_path / "store")
    model = NamedModel("net", str(path), {})
    found = list(sample([model], backend(), load("cpu"), 0, random_networks=False, note=noting(store)))
    assert len({each.key for each in found}) == len(found) and {each.source for each in found} == {"net"}
    noted = models_of([store.folder])["net"]
    assert sorted(noted) == list(range(len(VARIANTS)))
    assert {key for pairs in noted.values() for key, _ in pairs} == {each.key for each in found}


def test_the_command_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from optc.cli.app import run

    words = ["costmodel", "collect", "--store", str(tmp_path / "s")]
    assert run([*words, "--models", str(tmp_path / "none.onnx")]) == 2
    assert "the model does not exist" in capsys.readouterr().err
    assert run([*words, "--target", "rpi4"]) == 2
    assert "'rpi4' cannot be measured" in capsys.readouterr().err
    assert run([*words, "--zoo", str(tmp_path)]) == 2
    assert "the zoo has no readable manifest" in capsys.readouterr().err
