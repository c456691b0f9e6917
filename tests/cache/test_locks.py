"""Locks of the cache: one holder at a time, also across processes, and none after a holder was killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from optc import cache
from optc.artifact.leftovers import held_folder, let_go, sweep


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def forked(work: Callable[[], bool]) -> int:
    """A child that ends with 0 if `work` says yes."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return child


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def free(name: str = "name") -> bool:
    with cache.lock(name, wait=False) as mine:
        return mine


def test_a_lock_has_one_holder() -> None:
    with cache.lock("name") as mine:
        assert mine
        assert status_of(forked(free)) == 1
        assert status_of(forked(lambda: free("other"))) == 0
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(free()))
        thread.start()
        thread.join()
        assert seen == [False]
        with cache.lock("name", wait=False) as again:
            assert again, "a thread may take its own lock again"
        assert status_of(forked(free)) == 1, "the inner release frees nothing"
    assert status_of(forked(free)) == 0


def test_a_lock_ends_with_its_process_though_children_live(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        with cache.lock("name"):
            worker = os.fork()
            if worker == 0:
                signal.pause()  # outlives its parent
            os.write(writer, worker.to_bytes(8, "little"))
            signal.pause()
    worker = int.from_bytes(os.read(reader, 8), "little")
    try:
        assert not free()
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        assert free()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_nothing_is_left_on_disk(folder: Path) -> None:
    with cache.lock("name"):
        assert len(list((folder / "locks").iterdir())) == 1
    assert list((folder / "locks").iterdir()) == []


def test_waiting_is_told_and_ends(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with cache.measuring(lambda: pytest.fail("nobody else measures")):

        def other() -> bool:
            with cache.measuring(lambda: told.write_text("waits")):
                return told.exists()

        child = forked(other)
        while not told.exists():
            pass
    assert status_of(child) == 0


def test_a_cache_that_cannot_be_written_locks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", "/dev/null/cache")
    with cache.lock("name") as mine:
        assert mine


def test_eight_processes_make_an_entry_once(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def make() -> bytes:
        with open(log, "a") as file:
            file.write("made\n")
        return b"value" * 1000

    children = [forked(lambda: cache.made("kind", "key", make) == b"value" * 1000) for _ in range(8)]
    assert [status_of(child) for child in children] == [0] * 8
    assert log.read_text() == "made\n"


def test_leftovers_of_dead_writers_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    destination = tmp_path / "out"
    mine, handle = held_folder(destination)
    child = os.fork()
    if child == 0:
        held_folder(destination)
        signal.pause()
    while len(list(tmp_path.glob(".out.*.partial"))) < 2:
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (tmp_path / ".out.notes").mkdir()
    sweep(destination)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, ".out.notes"])
    assert handle is not None
    let_go(handle)
    sweep(destination)
    assert [path.name for path in tmp_path.iterdir()] == [".out.notes"]


def test_an_artifact_that_was_moved_away_comes_back(tmp_path: Path) -> None:
    retired = tmp_path / ".out.0123abcd.old"
    retired.mkdir()
    (retired / "kept").touch()
    sweep(tmp_path / "out")
    assert (tmp_path / "out" / "kept").exists() and not retired.exists()
