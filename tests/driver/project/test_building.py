"""Builds of whole projects: only what changed, all failures at the end, and locks that say what differs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from kill_kit import killed_and_resumed
from onnx_kit import model, node, value

from optc import artifact
from optc.backends.tvm.codegen import load_tvm
from optc.cli.app import run
from optc.driver.project import building, jobs
from optc.driver.project.config import Unit
from optc.driver.project.jobs import Outcome
from optc.driver.project.remote import compile_apart, place
from optc.errors import OptcError

Capture = pytest.CaptureFixture[str]

PROJECT = """
[defaults]
tune = 0
verify = false

[models.first]
file = "first.onnx"

[models.second]
file = "second.onnx"
emit = ["static"]
"""


def save(path: Path, scale: float = 1.0) -> None:
    weights = {"w": np.full((3, 4), scale, np.float32)}
    onnx.save(
        model([node("MatMul", "x w", "y", "fc"), node("Relu", "y", "z")], [value("x", [2, 3])], ["z"], weights), path
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "optc.toml").write_text(PROJECT)
    for name, scale in (("first", 1.0), ("second", 2.0)):
        save(folder / f"{name}.onnx", scale)
    monkeypatch.chdir(folder)
    return folder


def in_this_process(unit: Unit, phase: jobs.Phase = lambda _unit, _text: None) -> Outcome:
    """As `compile_unit`; TVM need not be loaded again for each."""
    code = run(jobs.words(unit))
    return Outcome(unit, code, 0.0, "error: it failed" if code else "")


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "compile_unit", in_this_process)


def built(capsys: Capture, *options: str, code: int = 0) -> dict[str, str]:
    """What became of each unit."""
    capsys.readouterr()
    assert run(["build", "--jobs", "1", "--json", *options]) == code
    output = capsys.readouterr().out
    units = json.loads(output[output.rindex('{\n "units"') :])["units"]
    return {each["model"]: each["status"] for each in units}


@pytest.mark.usefixtures("quickly")
def test_only_what_changed_is_compiled(project: Path, capsys: Capture) -> None:
    assert built(capsys) == {"first": "compiled", "second": "compiled"}
    assert (project / "optc-out/second/cpu/libsecond.a").exists()
    assert built(capsys) == {"first": "up to date", "second": "up to date"}
    save(project / "first.onnx", 3.0)
    assert built(capsys) == {"second": "up to date", "first": "compiled"}
    (project / "optc-out/second/cpu/plan.json").write_text("{}")
    assert built(capsys, "second") == {"second": "compiled"}
    (project / "optc.toml").write_text(PROJECT.replace("tune = 0", "tune = 0\nthreads = 1"))
    assert built(capsys) == {"first": "compiled", "second": "compiled"}
    assert built(capsys, "--force", "first") == {"first": "compiled"}


@pytest.mark.usefixtures("quickly")
def test_failures_come_last_and_the_rest_is_built(project: Path, capsys: Capture) -> None:
    (project / "first.onnx").write_bytes(b"no model")
    assert built(capsys, code=1) == {"first": "failed", "second": "compiled"}
    assert run(["build", "--jobs", "1"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "0 compiled, 1 up to date, 1 failed"
    assert captured.err.endswith("\nfirst/cpu failed with code 1:\nerror: it failed\n")
    artifact.read(project / "optc-out/second/cpu")


def test_a_process_of_its_own_compiles_and_fails(project: Path) -> None:
    unit = Unit("first", "cpu", project / "first.onnx", project / "out", ("--backend", "onnx", "--no-verify"), "0")
    seen: list[str] = []
    outcome, files = compile_apart(unit, {str(unit.file): unit.file.read_bytes()})
    assert outcome.code == 0, outcome.error
    place(unit.output, files)
    artifact.read(unit.output)
    for wrong in (
        {"../evil": b""},
        {"a/../../evil": b""},
        {"/evil": b""},
        {"sub/evil": b""},
        {"weights.bin": files["weights.bin"] + b"more"},
    ):
        with pytest.raises(OptcError):
            place(project / "other", {**files, **wrong})
    assert not (project / "other").exists() and not (project / "evil").exists()
    (project / "first.onnx").write_bytes(b"no model")
    outcome = jobs.compile_unit(unit, lambda _unit, text: seen.append(text))
    assert outcome.code == 1
    assert outcome.error.startswith("error: The file is not an ONNX model, or it is truncated\n")
    assert outcome.record is not None and outcome.record["error"]["exit_code"] == 1


@pytest.mark.usefixtures("quickly")
def test_the_lock_says_what_differs(project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["build", "--locked"]) == 1
    assert capsys.readouterr().err == (
        f"error: the lock file cannot be read\n  at {project}/optc.lock\n  No such file or directory\n"
        "  hint: run optc build once without --locked\n"
    )
    built(capsys)
    lock = (project / "optc.lock").read_bytes()
    assert str(project).encode() not in lock and json.loads(lock)["units"]["first/cpu"]["artifact"]
    assert built(capsys, "--locked", "--force") == {"first": "compiled", "second": "compiled"}
    assert (project / "optc.lock").read_bytes() == lock
    save(project / "first.onnx", 5.0)
    versions = building.tools()
    monkeypatch.setattr(building, "tools", lambda: {**versions, "numpy": "0.1"})
    assert run(["build", "--locked"]) == 1
    err = capsys.readouterr().err
    digest = "[0-9a-f]{64}"
    assert re.fullmatch(
        rf"error: the build differs from its lock\n  at {project}/optc\.lock\n"
        rf"  numpy: {re.escape(versions['numpy'])} in the lock, 0\.1 here\n"
        rf"  first/cpu: first\.onnx: {digest} in the lock, {digest} here\n"
        "  hint: optc build without --locked accepts what is here and writes the lock again\n",
        err,
    ), err
    assert built(capsys, "first") == {"first": "compiled"}
    after = json.loads((project / "optc.lock").read_bytes())
    assert after["tools"]["numpy"] == "0.1"
    assert after["units"]["second/cpu"] == json.loads(lock)["units"]["second/cpu"]


@pytest.mark.usefixtures("quickly")
def test_a_locked_build_refuses_an_artifact_that_came_out_otherwise(project: Path, capsys: Capture) -> None:
    built(capsys)
    record = json.loads((project / "optc.lock").read_bytes())
    record["units"]["first/cpu"]["artifact"] = "0" * 64
    (project / "optc.lock").write_text(json.dumps(record))
    assert run(["build", "--locked", "--force"]) == 1
    assert f"first/cpu: the artifact is {'0' * 64} in the lock, " in capsys.readouterr().err
    (project / "optc.lock").write_text("{}")
    with pytest.raises(OptcError, match="the lock file is damaged"):
        building.read_lock(project / "optc.lock")


@pytest.mark.usefixtures("quickly")
def test_a_killed_build_goes_on(project: Path, capsys: Capture) -> None:
    load_tvm()

    def work() -> None:
        assert run(["build", "--jobs", "1"]) == 0

    def check() -> None:
        for name in ("first", "second"):
            if (project / "optc-out" / name / "cpu").exists():
                artifact.read(project / "optc-out" / name / "cpu")

    killed_and_resumed(work, kills=4, longest=0.8, check=check)
    check()
    assert built(capsys) == {"first": "up to date", "second": "up to date"}
    hidden = [path.name for path in (project / "optc-out").rglob(".*") if path.name != ".optc-build.json"]
    assert hidden == []
