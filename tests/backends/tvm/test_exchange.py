"""Schedules as a file: what comes back, what is refused, and what merging keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from optc import cache
from optc.backends.tvm.template import Choice, Template
from optc.backends.tvm.tuning import database, exchange, records
from optc.backends.tvm.tuning.decision import Decision, Rated
from optc.backends.tvm.tuning.exchange import Merged, read_schedules, write_schedules
from optc.backends.tvm.tuning.hardware import hardware_of, hardware_text
from optc.backends.tvm.tuning.records import Record
from optc.backends.tvm.workload import code_version, digest
from optc.errors import OptcError
from optc.targets import Target, load

Change = Callable[[dict[str, Any]], None]


def record(target: Target, name: str, *measured: float | None) -> Record:
    """A decision between as many points as there are times."""
    template = Template.registry["conv2d"]
    rated = [
        Rated(Choice(template, (("columns", n + 1), ("vectors", 2))), 1e-3 * (n + 1), seconds)
        for n, seconds in enumerate(measured)
    ]
    return Record(digest(name), target.cores, digest(hardware_of(target)), code_version(), Decision.of(rated, 99))


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    return load("cpu")


def held(target: Target) -> dict[str, Record]:
    return {each.group: each for each in database.stored(target)}


def test_what_is_exported_is_imported(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = record(target, "a", 2e-4, 1e-4, None), record(target, "b", None, None)
    database.store(first)
    database.store(second)
    database.store(record(replace(target, vector_bytes=8), "c", 1e-4))
    assert first.decision.chosen.measured == 1e-4
    assert write_schedules(tmp_path / "file", target) == 2
    content = (tmp_path / "file").read_bytes()
    assert write_schedules(tmp_path / "file", target) == 2
    assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]

    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert held(target) == {}
    assert read_schedules(tmp_path / "file", target) == Merged(2, 2, 0)
    assert held(target) == {first.group: first, second.group: second}
    assert read_schedules(tmp_path / "file", target) == Merged(2, 0, 2)


def test_measured_schedules_replace_predicted_ones_only(target: Target, tmp_path: Path) -> None:
    database.store(record(target, "a", 2e-4, 1e-4))
    database.store(record(target, "b", 3e-4, 4e-4))
    write_schedules(tmp_path / "file", target)
    database.store(record(target, "a", None, None))
    here = record(target, "b", 9e-4, 8e-4)
    database.store(here)
    assert read_schedules(tmp_path / "file", target) == Merged(2, 1, 1)
    assert held(target) == {digest("a"): record(target, "a", 2e-4, 1e-4), here.group: here}


def test_other_hardware_needs_force(target: Target, tmp_path: Path) -> None:
    there = replace(target, caches=target.caches[:1])
    database.store(record(there, "a", 2e-4, 1e-4))
    write_schedules(tmp_path / "file", there)
    with pytest.raises(OptcError) as caught:
        read_schedules(tmp_path / "file", target)
    assert (caught.value.what, caught.value.where, caught.value.why, caught.value.hint) == (
        "the schedules were measured on other hardware",
        str(tmp_path / "file"),
        f"they are for {hardware_text(hardware_of(there))}; this machine is {hardware_text(hardware_of(target))}",
        "--force takes them as guesses, to be measured here",
    )
    assert held(target) == {}
    assert read_schedules(tmp_path / "file", target, force=True) == Merged(1, 1, 0)
    (taken,) = held(target).values()
    decision = taken.decision
    assert (taken.group, decision.foreign, decision.settled, decision.timed) == (digest("a"), True, False, 0)
    assert dict(decision.chosen.choice.schedule) == {"columns": 2, "vectors": 2}
    assert decision.reason == "imported from other hardware"


def test_nothing_to_export(target: Target, tmp_path: Path) -> None:
    with pytest.raises(OptcError) as caught:
        write_schedules(tmp_path / "file", target)
    assert caught.value.what == "there are no schedules to export"
    assert caught.value.why == "the cache holds none for this machine and this build of optc"
    assert caught.value.hint == "compile a model, or run optc tune MODEL, first"
    assert not (tmp_path / "file").exists()


def test_a_folder_that_is_not_there(target: Target, tmp_path: Path) -> None:
    database.store(record(target, "a", 1e-4))
    with pytest.raises(OptcError) as caught:
        write_schedules(tmp_path / "none" / "file", target)
    assert (caught.value.what, caught.value.why) == ("the schedules cannot be written", "No such file or directory")
    with pytest.raises(OptcError) as caught:
        read_schedules(tmp_path / "none" / "file", target)
    assert (caught.value.what, caught.value.why) == ("the schedule file cannot be read", "No such file or directory")


def set_field(*path: str | int, to: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        place: Any = content
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


POINT = ("schedules", 0, "rated", 0)
DAMAGE = "the schedule file is damaged"
REFUSED: list[tuple[Change, str, str | None]] = [
    (set_field("format", to="x"), "the file holds no schedules of optc", None),
    (
        set_field("version", to=2),
        "the schedule file has another version",
        "it has version 2, and this optc reads version 1",
    ),
    (set_field("more", to=1), DAMAGE, "it does not have the fields format, version, optc, code, hardware, schedules"),
    (set_field("hardware", "caches", to=[1]), DAMAGE, "'hardware' does not describe a processor"),
    (set_field("schedules", to={}), DAMAGE, "'schedules' is no list"),
    (lambda content: content["schedules"].append(content["schedules"][0]), DAMAGE, "schedule 1 is there twice"),
    (
        set_field("schedules", 0, "hardware", to="0" * 64),
        DAMAGE,
        "schedule 0 is for other hardware or code than the file",
    ),
    (set_field("schedules", 0, "group", to="../x"), DAMAGE, "schedule 0: 'group' is no SHA-256 digest"),
    (set_field("schedules", 0, "cores", to=0), DAMAGE, "schedule 0: 'cores' is no number from 1 to 65536"),
    (set_field("schedules", 0, "rated", to=[]), DAMAGE, "schedule 0: 'rated' is no list of 1 to 64 points"),
    (set_field("schedules", 0, "foreign", to=1), DAMAGE, "schedule 0: 'foreign' is neither true nor false"),
    (set_field(*POINT, "template", to="magic"), DAMAGE, "schedule 0: there is no template 'magic'"),
    (set_field(*POINT, "failed", to=None), DAMAGE, "schedule 0: 'failed' is neither true nor false"),
    (set_field(*POINT, "predicted", to=-1.0), DAMAGE, "schedule 0: 'predicted' is no time in seconds"),
    (set_field(*POINT, "measured", to="fast"), DAMAGE, "schedule 0: 'measured' is no time in seconds"),
    (
        set_field(*POINT, "schedule", "columns", to=1.5),
        DAMAGE,
        "schedule 0: the parameter 'columns' is no number from 0 to 1099511627776",
    ),
    (set_field(*POINT, "schedule", to=[]), DAMAGE, "schedule 0: 'schedule' is no set of up to 32 parameters"),
    (
        set_field(*POINT, "more", to=1),
        DAMAGE,
        "schedule 0: a point does not have the fields template, schedule, predicted, measured, failed",
    ),
]


@pytest.mark.parametrize(("change", "what", "why"), REFUSED)
def test_broken_files_change_nothing(
    change: Change, what: str, why: str | None, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    database.store(record(target, "a", 1e-4, 2e-4))
    write_schedules(path, target)
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(OptcError) as caught:
        read_schedules(path, target, force=True)
    assert (caught.value.what, caught.value.where, caught.value.why) == (what, str(path), why)
    assert list(cache.entries(database.KIND)) == []


def test_files_of_another_build(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "file"
    database.store(record(target, "a", 1e-4))
    write_schedules(path, target)
    content = json.loads(path.read_bytes()) | {"code": "f" * 64, "optc": "9.9"}
    path.write_text(json.dumps(content))
    with pytest.raises(OptcError) as caught:
        read_schedules(path, target, force=True)
    ours = f"optc {content['optc'] and exchange.__version__} (build {code_version()[:12]})"
    assert caught.value.what == "the schedules are for another build of optc"
    assert caught.value.why == f"they were made by optc 9.9 (build ffffffffffff); this is {ours}"
    assert caught.value.hint == "export them again with this build"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff", "it is no JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_no_json(content: bytes, why: str, target: Target, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(OptcError) as caught:
        read_schedules(tmp_path / "file", target)
    assert (caught.value.what, caught.value.why) == (DAMAGE, why)


def test_damaged_entries_of_the_database_count_as_nothing(target: Target) -> None:
    good = record(target, "a", 1e-4)
    database.store(good)
    cache.put(database.KIND, "other", b"[]")
    cache.put(database.KIND, "another", b"{")
    assert list(database.stored(target)) == [good]
    assert records.decode(records.encode(good)) == good
