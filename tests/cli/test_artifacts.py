"""A small model through compile, run, bench, verify and inspect, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optc.cli.app import run
from optc.targets import calibration, host

Capture = pytest.CaptureFixture[str]


def _model(path: Path) -> None:
    """y = |x + w| natively; d = det(x) only in onnxruntime."""
    weights = numpy_helper.from_array(np.linspace(-1, 1, 4, dtype=np.float32), "w")
    nodes = [
        helper.make_node("Add", ["x", "w"], ["sum"], name="add"),
        helper.make_node("Abs", ["sum"], ["y"], name="abs"),
        helper.make_node("Det", ["x"], ["d"], name="det"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 4])]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 4]),
        helper.make_tensor_value_info("d", TensorProto.FLOAT, ["batch"]),
    ]
    graph = helper.make_graph(nodes, "small", inputs, outputs, [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small.onnx and its artifact small.optc."""
    path = tmp_path_factory.mktemp("cli")
    _model(path / "small.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTC_CACHE_DIR", str(path / "cache"))
        argv = ["compile", str(path / "small.onnx"), "-o", str(path / "small.optc"), "--dim", "batch=2", "--tune", "0"]
        assert run([*argv, "--threads", "1"]) == 0
    return path


def _json(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def test_compile_ends_with_a_summary(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(folder / "cache"))
    output = folder / "again.optc"
    assert run(["compile", str(folder / "small.onnx"), "-o", str(output), "--dim", "batch=2", "--tune", "0"]) == 0
    facts = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if line[0] != " ")
    facts.pop("expected", None)  # only where the machine's caches can be probed
    assert list(facts) == [
        "target", "latency", "arena", "weights", "program", "native", "fallbacks", "verified", "artifact",
    ]  # fmt: skip
    assert facts["target"].strip() == "cpu"
    assert "predicted" in facts["latency"] and "measured" in facts["latency"]
    assert facts["fallbacks"].strip() == "1 region in onnxruntime:"
    assert facts["verified"].strip().startswith("yes, relative error ")
    assert facts["artifact"].strip() == str(output)


def test_compile_json(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(folder / "cache"))
    output = folder / "json.optc"
    argv = ["compile", str(folder / "small.onnx"), "-o", str(output), "--shape", "x=2,4,4", "--no-verify", "--json"]
    assert run([*argv, "--tune", "0"]) == 0
    result = _json(capsys)
    assert result["artifact"] == str(output)
    assert [item["shape"] for item in result["inputs"]] == [[2, 4, 4]]
    assert result["verification"] is None
    assert result["measured_seconds"] > 0 and result["compile_seconds"] > 0
    assert result["fallbacks"][0]["label"].count("det") == 1
    assert result["command"] == "optc compile small.onnx --shape x=2,4,4 --no-verify --tune 0"


def test_unbound_dimensions_are_refused_with_the_option(folder: Path, capsys: Capture) -> None:
    output = folder / "none.optc"
    assert run(["compile", str(folder / "small.onnx"), "-o", str(output), "--tune", "0"]) == 1
    err = capsys.readouterr().err
    assert "--dim batch=1" in err and "Traceback" not in err
    assert not output.exists()


def test_run_writes_what_numpy_computes(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    output = tmp_path / "out.npz"
    assert run(["run", str(folder / "small.optc"), "--input", f"x={tmp_path}/x.npy", "-o", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["y", "float32", "2×4×4"], ["d", "float32", "2"]]
    assert lines[-1] == f"written to {output}"
    with np.load(output) as found:
        np.testing.assert_allclose(found["y"], np.abs(x + np.linspace(-1, 1, 4, dtype=np.float32)), rtol=1e-6)
        np.testing.assert_allclose(found["d"], np.linalg.det(x), rtol=1e-4)


def test_run_makes_up_inputs_and_says_so(folder: Path, capsys: Capture) -> None:
    assert run(["run", str(folder / "small.optc"), "--seed", "7"]) == 0
    first = capsys.readouterr()
    assert first.err == "random values for x (seed 7)\n"
    assert run(["run", str(folder / "small.optc"), "--seed", "7"]) == 0
    assert capsys.readouterr().out == first.out


def test_run_refuses_a_wrong_shape_in_the_words_of_the_user(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 4), np.float32))
    assert run(["run", str(folder / "small.optc"), "--input", f"x={tmp_path}/x.npy"]) == 2
    assert "'x'" in capsys.readouterr().err


def test_bench_measures_each_thread_count(folder: Path, capsys: Capture) -> None:
    argv = ["bench", str(folder / "small.optc"), "--threads", "1", "--threads", "2", "--seconds", "0.05", "--profile"]
    assert run([*argv, "--json"]) == 0
    result = _json(capsys)
    assert [item["threads"] for item in result["results"]] == [1, 2]
    assert all(0 < item["min"] <= item["median"] <= item["p95"] for item in result["results"])
    assert len(result["steps"]) >= 2
    assert run(argv) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["threads", "median", "p05", "p95", "min", "runs"] and "det" in out


@pytest.fixture
def measured_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose peak was measured before: 50 GFLOP/s."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "measured"))
    facts = host.detect()
    levels = len(host.target_of(facts).caches)
    calibration.store(host._identity(facts), calibration.Measurement(5e10, (1e11,) * levels, 7e9, 9e9, "2026-01-02"))


@pytest.mark.usefixtures("measured_machine")
def test_profile_shows_each_step_and_writes_files(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    trace, plot, html = (tmp_path / f"out.{suffix}" for suffix in ("json", "svg", "html"))
    files = ["--trace", str(trace), "--plot", str(plot), "--html", str(html)]
    assert run(["profile", str(folder / "small.optc"), "--runs", "3", *files, "--order", "source"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["#", "step", "template", "ms"]
    assert lines[0].split()[-2:] == ["GB/s", "predicted/measured"]
    blank = lines.index("")
    steps, facts = lines[1 : blank - 1], dict(line.split("  ", 1) for line in lines[blank + 1 : -3])
    assert any("add" in line and "pointwise" in line for line in steps)
    assert any("det" in line and "onnxruntime" in line for line in steps)
    assert lines[blank - 1].split()[:2] == [str(len(steps)), "steps"]
    assert list(facts) == ["latency", "steps", "efficiency", "peak"]
    assert facts["peak"].strip().startswith("50.0 GFLOP/s on 1 thread: f32 measured on this machine (2026-01-02)")
    assert lines[-3:] == [f"written to {trace}", f"written to {plot}", f"written to {html}"]
    assert "least predicted time of " in html.read_text()
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event["ph"] == "X"]
    assert len(events) == len(steps)
    assert plot.read_text().count('<g class="step">') >= len(steps)


@pytest.mark.usefixtures("measured_machine")
def test_profile_json(folder: Path, capsys: Capture) -> None:
    assert run(["profile", str(folder / "small.optc"), "--runs", "2", "--threads", "2", "--json"]) == 0
    result = _json(capsys)
    assert (result["threads"], result["predicted_threads"], result["runs"]) == (2, 1, 2)
    assert result["peak_flops"]["f32"] == 5e10 * min(2, host.detect().cores)
    native = next(step for step in result["steps"] if "add" in step["label"])
    assert native["flops"] == 64 and native["bytes"] == 4 * (32 + 4 + 32)
    assert native["efficiency"] == pytest.approx(64 / result["peak_flops"]["f32"] / native["seconds"])


@pytest.mark.usefixtures("measured_machine")
def test_profile_says_where_it_cannot_write(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    missing = tmp_path / "none" / "out.svg"
    assert run(["profile", str(folder / "small.optc"), "--runs", "1", "--plot", str(missing)]) == 1
    assert capsys.readouterr().err == (
        f"error: the picture cannot be written\n  at {missing}\n  No such file or directory\n"
    )


def test_verify_reports_each_output(folder: Path, capsys: Capture) -> None:
    argv = ["verify", str(folder / "small.optc"), "--reference", str(folder / "small.onnx")]
    assert run(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["y", "ok"], ["d", "ok"]]


def test_verify_fails_with_code_4_on_another_model(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    _model(tmp_path / "other.onnx")
    proto = onnx.load(tmp_path / "other.onnx")
    proto.graph.node[1].op_type = "Neg"
    onnx.save(proto, tmp_path / "other.onnx")
    argv = ["verify", str(folder / "small.optc"), "--reference", str(tmp_path / "other.onnx")]
    assert run([*argv, "--json"]) == 4
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["passed"] is False and {item["name"] for item in result["outputs"]} == {"y", "d"}
    assert captured.err.startswith("error: output 'y' differs from the reference\n")


def test_inspect_shows_an_artifact(folder: Path, capsys: Capture) -> None:
    assert run(["inspect", str(folder / "small.optc"), "--json"]) == 0
    assert _json(capsys)["program"]["fallbacks"] == 1
    assert run(["inspect", str(folder / "small.optc"), "--dim", "batch=2"]) == 2
    assert capsys.readouterr().err == (
        f"error: an artifact has fixed shapes\n  at {folder}/small.optc\n  hint: leave out --shape and --dim\n"
    )


def test_inspect_shows_a_model(folder: Path, capsys: Capture) -> None:
    assert run(["inspect", str(folder / "small.onnx")]) == 0
    out = capsys.readouterr().out
    assert "inputs            x: batch×4×4 f32\n" in out
    assert "FLOPs             unknown until the shapes are bound\n" in out
    assert "bind with         --dim batch=N\n" in out
    assert run(["inspect", str(folder / "small.onnx"), "--dim", "batch=2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.split("\n\n")[1].splitlines()]
    assert rows[0] == ["operation", "count", "FLOPs", "share"]
    assert ["Add", "1", "32"] in [row[:3] for row in rows]
