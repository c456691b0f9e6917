"""optc tune: what it prints, and what compiles take over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optc.backends.tvm.tuning import runs_here
from optc.cli.app import run
from optc.targets import load

Capture = pytest.CaptureFixture[str]


def _model(path: Path) -> None:
    """Two equal matrix products and a softmax."""
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w"], ["b"], name="second"),
        helper.make_node("Softmax", ["b"], ["y"], name="softmax"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [96, 64]) for name in "xy"]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    _model(tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def _json(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def test_tuned_schedules_are_what_a_compile_takes(model: Path, capsys: Capture) -> None:
    assert run(["tune", str(model), "--budget", "60s", "--threads", "1", "--json"]) == 0
    tuned = _json(capsys)
    assert tuned["model"] == "small" and tuned["seconds"] <= tuned["untuned_seconds"]
    assert sum(each["calls"] for each in tuned["kernels"]) >= 1
    output = model.with_suffix(".optc")
    argv = ["compile", str(model), "-o", str(output), "--threads", "1", "--no-verify", "--json"]
    assert run(argv) == 0
    kernels = json.loads((output / "plan.json").read_text())["decisions"]["kernels"]
    chosen = [each["selection"]["chosen"] for each in tuned["kernels"]]
    for kernel in kernels:
        found = [kernel["template"], sorted(map(list, kernel["schedule"].items()))]
        assert found in [[each["template"], sorted(each["schedule"])] for each in chosen]
        assert kernel["reason"].startswith("fastest of ") == (kernel["measured_seconds"] is not None)
    assert any(kernel["timed"] > 1 for kernel in kernels)


def test_export_and_import(model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["tune", str(model), "--budget", "0.001", "--threads", "1"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split() == ["kernel", "calls", "template", "predicted", "best", "chosen", "basis"]
    file = tmp_path / "schedules.json"
    assert run(["tune", "export", str(file)]) == 0
    count = int(capsys.readouterr().out.split()[0])
    assert count >= 1
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "other"))
    assert run(["tune", "import", str(file)]) == 0
    assert capsys.readouterr().out == f"{count} of {count} schedules taken from {file}, 0 were known\n"
    assert run(["tune", "import", str(file), "--json"]) == 0
    assert _json(capsys) == {"file": str(file), "schedules": count, "taken": 0, "known": count}


@pytest.mark.skipif(not runs_here(load("x86-64-v3")), reason="this machine runs no code for x86-64-v3")
def test_another_target_is_measured_where_its_code_runs(model: Path, capsys: Capture) -> None:
    words = ["tune", str(model), "--target", "cpu", "--target", "x86-64-v3", "--threads", "1", "--budget", "60s"]
    assert run([*words, "--json"]) == 0
    captured = capsys.readouterr()
    records = json.loads(captured.out)["models"]
    assert [(each["model"], each["target"]) for each in records] == [("small", "cpu"), ("small", "x86-64-v3")]
    for each in records:
        assert all(k["selection"]["points"] == 1 or k["selection"]["timed"] > 1 for k in each["kernels"])
    assert captured.err.count(" for x86-64-v3: done in ") == 1
    output = model.with_suffix(".optc")
    argv = ["compile", str(model), "-o", str(output), "--threads", "1", "--no-verify", "--target", "x86-64-v3"]
    for options, word in (([], "fastest of "), (["--tune", "0"], "least predicted time of ")):
        assert run([*argv, *options]) == 0
        kernels = json.loads((output / "plan.json").read_text())["decisions"]["kernels"]
        assert any(kernel["reason"].startswith(word) for kernel in kernels)
        assert all((kernel["measured_seconds"] is not None) <= (not options) for kernel in kernels)


def test_the_models_of_a_project_file(model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    (model.parent / "optc.toml").write_text(
        '[defaults]\nthreads = 1\n[models.small]\nfile = "small.onnx"\n[models.lost]\nfile = "lost.onnx"\n'
    )
    monkeypatch.chdir(model.parent)
    assert run(["tune", "--file", "optc.toml", "--budget", "0.001"]) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["model", "kernels", "measured", "predicted", "best", "chosen"]
    assert [line.split()[0] for line in lines[1:]] == ["small/cpu"]
    assert "\nlost/cpu is not tuned:\nerror: " in captured.err
    assert run(["tune", "other", "--file", "optc.toml"]) == 2
    assert "the project has no model 'other'" in capsys.readouterr().err
    assert run(["tune", "--file", "optc.toml", "--threads", "2"]) == 2
    assert capsys.readouterr().err.startswith("error: --file excludes --shape, --dim and --threads\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["MODEL", "--budget", "0"],
            "error: '0' is no time to tune in\n  hint: give seconds, for instance --budget 60s\n",
        ),
        (
            ["MODEL", "--budget", "soon"],
            "error: 'soon' is no tuning budget\n  hint: give seconds (30s, 5m), 0 for none, or auto\n",
        ),
        (
            ["import", "none.json"],
            "error: the schedule file cannot be read\n  at none.json\n  No such file or directory\n",
        ),
        (
            ["export", "none.json"],
            "error: there are no schedules to export\n  the cache holds none for this machine and this build of optc\n"
            "  hint: compile a model, or run optc tune MODEL, first\n",
        ),
        (
            ["MODEL", "--target", "cortex-m7"],
            "error: schedules for 'cortex-m7' are not measured\n  at --target cortex-m7\n"
            "  hint: optc tune is for processors that run the tvm backend's kernels\n",
        ),
        (["export"], "error: missing argument 'FILE'\n  at optc tune export\n  hint: optc tune export --help\n"),
    ],
)  # fmt: skip
def test_wrong_usage(words: list[str], message: str, model: Path, capsys: Capture) -> None:
    argv = ["tune", *(str(model) if word == "MODEL" else word for word in words)]
    assert run(argv) in (1, 2)
    assert capsys.readouterr().err == message


def test_help_without_arguments(capsys: Capture) -> None:
    assert run(["tune"]) == 0
    assert "optc tune MODEL --budget 60s" in capsys.readouterr().out
