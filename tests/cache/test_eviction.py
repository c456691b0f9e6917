"""The size of the cache: what was used longest ago goes first, measurements last; what is no entry stays."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from optc import cache
from optc.cache import eviction
from optc.cli.app import run
from optc.errors import UsageError

Capture = pytest.CaptureFixture[str]
SIZE = 1000
STORED = SIZE + 32


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("OPTC_CACHE_MAX", raising=False)
    return tmp_path


def put(kind: str, key: str, age: float) -> None:
    """An entry that was used `age` seconds ago."""
    cache.put(kind, key, key.encode().ljust(SIZE))
    then = time.time() - age
    os.utime(cache.folder.entry_path(kind, key), (then, then))


def left(kind: str, *keys: str) -> list[str]:
    return [key for key in keys if cache.get(kind, key) is not None]


def test_the_longest_unused_goes_first() -> None:
    for age, key in enumerate("abcde"):
        put("kernels", key, 100.0 * age)
    assert cache.get("kernels", "e") is not None  # used again
    freed = eviction.prune(3 * STORED)
    assert (freed.entries, freed.bytes, freed.left) == (2, 2 * STORED, 3 * STORED)
    assert left("kernels", *"abcde") == ["a", "b", "e"]


def test_measurements_go_last() -> None:
    put("schedules", "measured", 1e6)
    put("kernels", "new", 0)
    eviction.prune(STORED)
    assert left("schedules", "measured") == ["measured"] and left("kernels", "new") == []
    eviction.prune(0)
    assert left("schedules", "measured") == []


def test_what_killed_processes_left_goes_and_what_is_no_entry_stays(folder: Path) -> None:
    put("kernels", "a", 0)
    (entry,) = folder.glob("kernels/??/*")
    stale, fresh = entry.with_name(".stale"), entry.with_name(".fresh")
    for path, age in ((stale, 1e5), (fresh, 0)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    trained = folder / "predictors" / "mine" / "model.npz"
    trained.parent.mkdir(parents=True)
    trained.touch()
    eviction.prune(10 * STORED)
    assert not stale.exists() and fresh.exists() and entry.exists()
    eviction.clear()
    assert trained.exists() and not entry.exists()


def test_writes_keep_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_MAX", "20K")
    for number in range(100):
        cache.put("kernels", str(number), bytes(SIZE))
        assert sum(entry.bytes for entry in eviction.listed()) <= 20 * 1024
    assert left("kernels", "99", "98") == ["99", "98"]
    monkeypatch.setenv("OPTC_CACHE_MAX", "0")
    for number in range(100):
        cache.put("kernels", str(number), bytes(SIZE))
    assert len(eviction.listed()) == 100


def test_a_limit_that_is_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_MAX", "much")
    with pytest.raises(UsageError) as failure:
        cache.put("kernels", "a", b"")
    assert str(failure.value) == (
        "'much' is no size\n  at environment variable OPTC_CACHE_MAX\n  hint: give bytes (262144), or 256K, 1.5M, 2G"
    )


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_has_the_name_of_an_entry_and_is_none(kind: str, folder: Path) -> None:
    put("kernels", "a", 0)
    (entry,) = folder.glob("kernels/??/*")
    content = entry.read_bytes()
    entry.unlink()
    if kind == "link":
        (folder / "elsewhere").write_bytes(content)
        entry.symlink_to(folder / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(entry)
    else:
        entry.mkdir()
    assert cache.get("kernels", "a") is None
    assert list(cache.entries("kernels")) == []
    assert eviction.listed() == []


def test_the_command(folder: Path, capsys: Capture) -> None:
    for kind, key in (("kernels", "a"), ("kernels", "b"), ("schedules", "c")):
        put(kind, key, 0)
    assert run(["cache", "info"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"folder  {folder}",
        "size    3.0 KiB",
        "limit   5.00 GiB (environment variable OPTC_CACHE_MAX)",
        "",
        "kind       entries     size",
        "kernels          2  2.0 KiB",
        "schedules        1  1.0 KiB",
    ]
    assert run(["cache", "prune", "--max-size", "2100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": 1, "bytes": STORED, "left_bytes": 2 * STORED}
    assert run(["cache", "clear", "kernles"]) == 2
    assert capsys.readouterr().err == (
        "error: the cache holds nothing of the kind 'kernles'\n  hint: there are: kernels, schedules\n"
    )
    assert run(["cache", "clear", "schedules"]) == 0
    assert capsys.readouterr().out == "1 entry of 1.0 KiB removed, 1.0 KiB left\n"
    assert run(["cache", "clear"]) == 0
    assert eviction.listed() == []
    capsys.readouterr()
    assert run(["cache", "info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(folder), "bytes": 0, "limit": 5 << 30, "kinds": {}}
