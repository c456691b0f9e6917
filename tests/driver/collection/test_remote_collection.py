"""Kernels of a collection on a device: the same rows as here, and nothing stored of a device that does not answer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from collection_kit import small_workloads
from device_kit import HANG, Server, SshServer
from onnx import TensorProto, helper

from optc.cli.app import run
from optc.costmodel.kernels.machine import fingerprint_of
from optc.costmodel.kernels.schema import MEASURED
from optc.costmodel.kernels.store import RowStore
from optc.driver.collection.remote import device_bench
from optc.driver.collection.session import Settings, collect
from optc.driver.collection.workloads import KernelWorkload
from optc.errors import OptcError
from optc.runtime.device.description import Device
from optc.runtime.device.session import DeviceLost, TooLong
from optc.targets import load

pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")

SETTINGS = Settings(budget=120.0, points=1, batch=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    with made.started():
        yield made


@pytest.fixture(scope="module")
def workloads() -> list[KernelWorkload]:
    return small_workloads()


@pytest.fixture(scope="module")
def here(workloads: list[KernelWorkload], tmp_path_factory: pytest.TempPathFactory) -> RowStore:
    store = RowStore(tmp_path_factory.mktemp("here"))
    collect(store, workloads, load("cpu"), SETTINGS)
    return store


def collected(
    folder: Path, workloads: list[KernelWorkload], device: Device, timeout: float = 60.0, target: str = "cpu"
) -> RowStore:
    """What a device measured into a folder."""
    store = RowStore(folder)
    with device_bench(device, load(target), timeout, retries=0) as bench:
        collect(store, workloads, load(target), SETTINGS, bench=bench)
    return store


def test_a_device_gives_the_rows_of_this_machine(
    server: Server, workloads: list[KernelWorkload], here: RowStore, tmp_path: Path
) -> None:
    store = collected(tmp_path, workloads, server.device())
    rows = list(store.rows())
    assert store.keys() == here.keys() and len(rows) == len(here.keys())
    for row in rows:
        assert row.status == MEASURED and row.fingerprint == fingerprint_of(load("cpu"))
        assert 0 < row.near_least <= row.near_median <= row.near_high and 0 < row.far_least
        assert row.rounds >= 4 and row.anchor > 0 and row.anchor_memory > 0
    assert collected(tmp_path, workloads, server.device()).keys() == here.keys()
    assert len(list(store.rows())) == len(rows)


def test_over_ssh(workloads: list[KernelWorkload], here: RowStore, tmp_path: Path) -> None:
    made = SshServer(tmp_path)
    with made.started():
        assert collected(tmp_path / "rows", workloads, made.device()).keys() == here.keys()
        assert made.left == []


def test_a_device_that_vanishes_loses_and_doubles_nothing(
    server: Server, workloads: list[KernelWorkload], here: RowStore, tmp_path: Path
) -> None:
    once = 'test -e "$0" && kill -9 $PPID; touch "$0"; exec "$@"'  # the second run ends the connection
    device = server.device(prefix=("sh", "-c", once, str(tmp_path / "mark")))
    with pytest.raises(DeviceLost, match="the device 'board' was lost while running the model"):
        collected(tmp_path / "rows", workloads, device)
    store = RowStore(tmp_path / "rows")
    first = store.keys()
    assert first and first < here.keys() and {row.status for row in store.rows()} == {MEASURED}
    assert collected(store.folder, workloads, server.device()).keys() == here.keys()
    assert len(list(store.rows())) == len(here.keys())


def test_where_nothing_runs_nothing_is_stored(server: Server, workloads: list[KernelWorkload], tmp_path: Path) -> None:
    with pytest.raises(OptcError) as raised:
        collected(tmp_path, workloads[:1], server.device(prefix=("sh", "-c", "kill -ILL $$")))
    assert (raised.value.what, raised.value.why) == (
        "kernels do not run on the device 'board'",
        "signal 4 ended it",
    )
    with pytest.raises(OptcError, match="kernels do not run on the device 'board'"):
        collected(tmp_path, workloads[:1], server.device(prefix=("/no/such/emulator",)))
    with pytest.raises(OptcError, match="the program answers with nonsense on the device 'board'"):
        collected(tmp_path, workloads[:1], server.device(prefix=("echo",)))
    with pytest.raises(TooLong, match=r"the device 'board' did not finish within 0\.5 s"):
        collected(tmp_path, workloads[:1], server.device(prefix=HANG), timeout=0.5)
    assert RowStore(tmp_path).keys() == set()


def test_one_that_crashes_is_stored_as_such(
    server: Server, workloads: list[KernelWorkload], here: RowStore, tmp_path: Path
) -> None:
    second = 'test -e "$0.ran" && kill -SEGV $$; touch "$0.ran"; exec "$@"'
    device = server.device(prefix=("sh", "-c", second, str(tmp_path / "mark")))
    store = collected(tmp_path / "rows", workloads, device)
    found = {row.workload: row.status for row in store.rows()}
    assert store.keys() == here.keys() and list(found.values()) == [MEASURED, "failed"]


def test_a_device_of_another_kind(server: Server, workloads: list[KernelWorkload], tmp_path: Path) -> None:
    other = "rpi4" if str(load("cpu").llvm["mtriple"]).startswith("x86_64") else "x86-64-v3"
    with pytest.raises(OptcError) as raised:
        collected(tmp_path, workloads, server.device(), target=other)
    assert raised.value.what == "kernels were built for another kind of machine than the device 'board'"
    assert raised.value.hint == "give its --target"


def test_the_command(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "tanh", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "tanh.onnx")
    assert run(["device", "add", "board", "--rpc", f"127.0.0.1:{server.port}", "--secret", str(server.secret)]) == 0
    words = ["costmodel", "collect", "--device", "board", "--store", str(tmp_path / "rows")]
    words += ["--models", str(tmp_path / "tanh.onnx"), "--models-only", "--points", "1"]
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["rows"] == len(RowStore(tmp_path / "rows").keys()) > 0 and facts["failed"] == 0
    assert run([*words, "--ray"]) == 2
    assert capsys.readouterr().err == "error: --ray does not go with --device\n"
    assert run([*words, "--before-timing", "nice"]) == 2
    assert "  hint: give the device the words with --prefix of optc device add\n" in capsys.readouterr().err
    assert run([*words, "--target", "cortex-m4"]) == 2
    assert "error: no kernels are built for 'cortex-m4'\n  at --target\n" in capsys.readouterr().err
