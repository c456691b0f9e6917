"""The store of rows: parts are whole, rows count once, and what is wrong with a file is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from optc.costmodel.kernels.schema import MEASURED, Row
from optc.costmodel.kernels.store import RowStore, merged, models_of, states_of
from optc.costmodel.state import Rates
from optc.errors import OptcError

pyarrow = pytest.importorskip("pyarrow")

ROW = Row(
    key="0",
    fingerprint="f",
    target="{}",
    workload="w",
    workload_class="c",
    sources="random",
    ir="graph",
    constants=[1],
    template="conv2d",
    schedule="{}",
    code="c",
    compiler="x",
    status=MEASURED,
    names="n",
    features=[1.0, 2.0],
    roofline=1e-5,
    estimate=2e-5,
    flops=10,
    bytes=20,
    near_least=1e-5,
    near_median=1.1e-5,
    near_high=1.2e-5,
    far_least=2e-5,
    far_median=2.1e-5,
    far_high=2.2e-5,
    rounds=16,
    noise=0.01,
    anchor=1e-4,
    anchor_memory=1e-3,
    measured_again=0,
    day="2026-01-01T00:00:00",
)


def rows(*keys: str) -> list[Row]:
    return [replace(ROW, key=key) for key in keys]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "store")
    store.append(rows("a", "b"))
    store.append(rows("c"))
    assert sorted(store.rows(), key=lambda row: row.key) == rows("a", "b", "c")
    assert store.append([]) is None


def test_a_row_that_is_appended_twice_counts_once(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    first = store.append(rows("a", "b"))
    assert store.append(rows("b", "a")) == first and len(store.parts()) == 1
    store.append(rows("b", "c"))
    assert sorted(store.table(["key"]).column("key").to_pylist()) == ["a", "b", "c"]
    other = RowStore(tmp_path / "other")
    other.append(rows("c", "d"))
    assert sorted(merged([tmp_path, other.folder]).column("key").to_pylist()) == ["a", "b", "c", "d"]


WRITER = """
import sys
from dataclasses import replace
from test_store import ROW
from optc.costmodel.kernels.store import RowStore
store = RowStore(sys.argv[1])
with store.lock():
    for number in range(10_000):
        store.append([replace(ROW, key=f"{number}-{part}") for part in range(5)])
        print(number, flush=True)
"""


def test_a_killed_writer_leaves_whole_parts_and_no_lock(tmp_path: Path) -> None:
    path = [str(Path(__file__).parent), *sys.path]
    words = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{WRITER}", str(tmp_path)]
    writer = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    seen = [int(writer.stdout.readline()) for _ in range(8)]
    writer.kill()
    writer.wait()
    store = RowStore(tmp_path)
    with store.lock():
        store.sweep()
    keys = store.table(["key"]).column("key").to_pylist()
    assert len(keys) == len(set(keys)) == 5 * len(store.parts()) and len(keys) >= 5 * len(seen)
    assert {f"{number}-{part}" for number in seen for part in range(5)} <= set(keys)
    assert not list(tmp_path.glob(".part-*"))


def test_only_one_process_writes_and_its_orphans_keep_no_lock(tmp_path: Path) -> None:
    path = [str(Path(__file__).parent), *sys.path]
    holder = """
import os, sys, time
from optc.costmodel.kernels.store import RowStore
with RowStore(sys.argv[1]).lock():
    if os.fork() == 0:
        time.sleep(60)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""
    words = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{holder}", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None and process.stdout.readline()
        with pytest.raises(OptcError, match="another process adds to this store"), RowStore(tmp_path).lock():
            pass
        process.kill()
        process.wait()
        with RowStore(tmp_path).lock():
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    part = store.append(rows("a"))
    assert part is not None
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(OptcError) as caught:
        store.table()
    assert str(part) in str(caught.value) and "a part of the store cannot be read" in str(caught.value)


def test_a_foreign_table_is_named(tmp_path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"key": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(OptcError, match="a file in the store holds no kernel rows"):
        RowStore(tmp_path).table()


def test_another_schema_is_refused(tmp_path: Path) -> None:
    from pyarrow import parquet

    table = pyarrow.table({"key": ["a"]}).replace_schema_metadata({"optc_kernel_rows": "99"})
    parquet.write_table(table, tmp_path / "other.parquet")
    with pytest.raises(OptcError, match="has schema version 99, this optc reads 1"):
        RowStore(tmp_path).table()


def test_models_are_remembered(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    store.note_model("net", 0, [("w1", "c1"), ("w2", "c2")])
    store.note_model("net", 1, [("w3", "c1")])
    assert models_of([tmp_path]) == {"net": {0: [("w1", "c1"), ("w2", "c2")], 1: [("w3", "c1")]}}
    (tmp_path / "models" / "net-1.json").write_text("{")
    with pytest.raises(OptcError, match="a model's list of kernels is damaged"):
        models_of([tmp_path])


def test_states_are_remembered(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    assert states_of([tmp_path]) == {}
    slow, fast = Rates(1e11, 1e11, 5e10, 1e10), Rates(2e11, 2e11, 6e10, 2e10)
    store.note_state("f", slow)
    store.note_state("f", fast)
    store.note_state("g", slow)
    assert states_of([tmp_path]) == {"f": [slow, fast], "g": [slow]}
    (path,) = (tmp_path / "states").glob("g-*.json")
    path.write_text('{"fingerprint": "g", "rates": {"memory": 1}}')
    with pytest.raises(OptcError, match="a machine's noted rates are damaged") as caught:
        states_of([tmp_path])
    assert caught.value.where == str(path)
