"""What the commands print and write."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optc.cli.app import run
from optc.cli.arrays import read_inputs, statistics, write_arrays
from optc.cli.output import Progress, count_text, emit_json, emit_table, seconds_text, size_text
from optc.errors import OptcError, UsageError
from optc.ir.equality import equal
from optc.ir.parser import parse_module
from optc.ir.resources import load_module
from optc.passes import registry

Capture = pytest.CaptureFixture[str]

TEXT = """module @m {
  graph @main(%x: tensor<batchx4xf32>) -> ("y") {
    %c = optc.constant {value = dense<1.0> : tensor<4xf32>} : tensor<4xf32>
    %d = onnx.Add(%c, %c) : tensor<4xf32>
    %y = onnx.Mul(%d, %x) : tensor<batchx4xf32> loc("mul")
    return %y
  }
}
"""
FOLDED = """module @m {
  graph @main(%x: tensor<batchx4xf32>) -> ("y") {
    %d = optc.constant {value = dense<2.0> : tensor<4xf32>} : tensor<4xf32>
    %y = onnx.Mul(%d, %x) : tensor<batchx4xf32> loc("mul")
    return %y
  }
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mlir"
    path.write_text(TEXT)
    return path


def _json(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def test_opt_prints_the_ir(source: Path, capsys: Capture) -> None:
    assert run(["opt", str(source)]) == 0
    assert capsys.readouterr().out == TEXT


def test_opt_runs_passes_and_writes(source: Path, tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "new" / "out.mlir"
    assert run(["opt", str(source), "--passes", "fold,dce", "--verify-each", "-o", str(output)]) == 0
    assert equal(load_module(output), parse_module(FOLDED), locations=False) is None
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "pass  operations before  after",
        "fold                  3      3",
        "dce                   3      2",
    ]


def test_opt_reads_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    assert run(["opt", "-", "--dim", "batch=3"]) == 0
    assert capsys.readouterr().out == TEXT.replace("batch", "3")


def test_opt_json(source: Path, capsys: Capture) -> None:
    assert run(["opt", str(source), "--passes", "fold{max-growth=64},dce", "--json"]) == 0
    result = _json(capsys)
    assert result["pipeline"] == "fold{max-growth=64},dce"
    assert [(item["name"], item["changed"]) for item in result["passes"]] == [("fold", True), ("dce", True)]
    assert equal(parse_module(result["module"]), parse_module(FOLDED), locations=False) is None


def test_opt_prints_the_pipeline_and_reads_nothing(capsys: Capture) -> None:
    assert run(["opt", "none.mlir", "--print-pipeline", "--passes", " fold { max-growth = 64 } , dce"]) == 0
    assert capsys.readouterr().out == "fold{max-growth=64},dce\n"


def test_opt_dumps_the_ir_of_every_pass(source: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["opt", str(source), "--passes", "fold,dce", "--dump-ir", str(tmp_path / "ir")]) == 0
    assert sorted(path.name for path in (tmp_path / "ir").iterdir()) == ["00-input.mlir", "01-fold.mlir", "02-dce.mlir"]
    assert (tmp_path / "ir/02-dce.mlir").read_text() == capsys.readouterr().out


def test_opt_times_and_remarks_go_to_standard_error(source: Path, capsys: Capture) -> None:
    assert run(["opt", str(source), "--passes", "fold,dce", "--time", "--remarks"]) == 0
    captured = capsys.readouterr()
    parse_module(captured.out)
    assert [line.split()[-1] for line in captured.err.splitlines()[:2]] == ["fold", "dce"]
    assert "applied fold (fold)" in captured.err


def test_verbose_traces_every_pass(source: Path, capsys: Capture) -> None:
    assert run(["opt", str(source), "--passes", "fold{max-growth=64},dce", "-v"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("optc.passes.manager: fold{max-growth=64}: ")
    assert second.startswith("optc.passes.manager: dce: ") and second.endswith(" 3 operations before, 2 after")


def test_passes_lists_all_with_their_summary(capsys: Capture) -> None:
    assert run(["passes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(registry.PASSES)
    assert all(len(line.split()) > 2 for line in lines)


def test_passes_json_describes_every_option(capsys: Capture) -> None:
    assert run(["passes", "fold", "--json"]) == 0
    (described,) = _json(capsys)["passes"]
    options = {option["name"]: option for option in described["options"]}
    assert options["max-growth"]["type"] == "int" and options["max-growth"]["default"].isdecimal()
    assert all(option["help"] for option in options.values())


def test_targets_json_has_the_host_first(capsys: Capture) -> None:
    assert run(["targets", "--json"]) == 0
    found = _json(capsys)["targets"]
    assert found[0]["name"] == "cpu" and found[0]["cores"] >= 1
    assert {"aarch64", "jetson-tx2", "cortex-m7"} <= {item["name"] for item in found}


def test_a_target_is_shown_with_the_source_of_every_figure(capsys: Capture) -> None:
    assert run(["targets", "rpi4"]) == 0
    rows = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert rows[0].split() == ["figure", "value", "source"]
    assert all(len(row.split("  ")) >= 2 for row in rows[1:])


def test_doctor_json(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    code = run(["doctor", "--json"])
    report = _json(capsys)
    findings = {item["what"]: item for item in report["findings"]}
    assert code == (0 if report["ok"] else 1)
    assert {"python", "numpy", "onnxruntime", "apache-tvm", "C compiler", "cache", "processor"} <= findings.keys()
    assert findings["cache"]["found"] == f"{tmp_path}/cache (0 B)"


def test_doctor_says_what_is_missing(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert run(["doctor"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("C compiler")]
    assert "MISSING" in line and "no-such-compiler" in line


def test_inputs_come_from_npy_and_npz(tmp_path: Path) -> None:
    first, second = np.arange(3.0), np.ones((2, 2), np.int8)
    np.save(tmp_path / "a.npy", first)
    np.savez(tmp_path / "both.npz", x=first, y=second)
    np.savez(tmp_path / "one.npz", other=second)
    named = read_inputs([f"x={tmp_path}/a.npy", f"y={tmp_path}/one.npz"])
    assert named["x"].tolist() == first.tolist() and named["y"].tolist() == second.tolist()
    assert read_inputs([f"{tmp_path}/both.npz"]).keys() == {"x", "y"}
    assert read_inputs([f"y={tmp_path}/both.npz"]).keys() == {"y"}
    for words, message in {
        (f"{tmp_path}/a.npy",): "names no input",
        (f"z={tmp_path}/both.npz",): "holds no array 'z'\n  at --input\n  it holds x, y",
        (f"x={tmp_path}/a.npy", f"x={tmp_path}/a.npy"): "--input gives 'x' twice",
    }.items():
        with pytest.raises(UsageError) as caught:
            read_inputs(words)
        assert message in str(caught.value)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and nothing more")
    for name in ("evil.npy", "text.npy", "cut.npz"):
        with pytest.raises(OptcError, match="the input file holds no NumPy array"):
            read_inputs([f"x={tmp_path}/{name}"])


def test_outputs_are_written(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b:0": np.eye(2)}
    write_arrays(tmp_path / "o.npz", arrays)
    with np.load(tmp_path / "o.npz") as loaded:
        assert all((loaded[name] == array).all() for name, array in arrays.items())
    for name in ("o.npy", "o.csv"):
        with pytest.raises(UsageError, match="the outputs cannot go to"):
            write_arrays(tmp_path / name, arrays)
    with pytest.raises(OptcError, match="the outputs cannot be written"):
        write_arrays(tmp_path / "no" / "o.npz", arrays)


def test_statistics_leave_out_what_is_not_finite() -> None:
    assert statistics(np.array([[1.0, np.nan, 3.0]])) == {
        "dtype": "float64", "shape": [1, 3], "min": 1.0, "max": 3.0, "mean": 2.0, "not_finite": 1,
    }  # fmt: skip
    assert statistics(np.array(["a"])) == {"dtype": "<U1", "shape": [1]}


def test_units() -> None:
    assert [size_text(n) for n in (0, 1023, 1536, 5 << 20, 3 << 30)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 MiB",
        "3.00 GiB",
    ]
    assert [seconds_text(s) for s in (0, 2e-9, 1.5e-6, 0.0123, 4)] == ["0 s", "2 ns", "1.5 µs", "12.3 ms", "4 s"]
    assert [count_text(n) for n in (12, 1234, 3e6, 4.1e9, 2e12)] == ["12", "1.23 k", "3 M", "4.1 G", "2 T"]


def test_json_holds_no_number_that_json_lacks(capsys: Capture) -> None:
    emit_json({"a": np.float32(1.5), "b": [float("nan"), float("inf")], "c": Path("x"), "d": (True, None, np.int8(3))})
    assert _json(capsys) == {"a": 1.5, "b": [None, None], "c": "x", "d": [True, None, 3]}


def test_quick_work_shows_no_progress(capsys: Capture) -> None:
    with Progress() as progress:
        progress("one", 0, 2)
        progress("two", 1, 2)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_each_phase_is_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optc.cli.output.PATIENCE", 0.0)
    with Progress() as progress:
        for what, done in (("tuning", 0), ("tuning", 1), ("linking", 0)):
            progress(what, done, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "optc: tuning\noptc: linking\n")


def test_tables_are_aligned(capsys: Capture) -> None:
    emit_table(["name", "n"], [["a", "1"], ["long name", "10"]], right=(1,))
    assert capsys.readouterr().out == "name        n\na           1\nlong name  10\n"
