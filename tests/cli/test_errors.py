"""Errors of the command line: exact text, exit code, and never a traceback unless asked for."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import click
import pytest

from optc.cli.app import COMMANDS, cli, run
from optc.errors import InternalError, LimitError, ModelError, OptcError, UsageError, VerificationFailed
from optc.passes import registry

Capture = pytest.CaptureFixture[str]

GRAPH = 'graph @main(%x: tensor<4xf32>) -> ("y") {\n  return %x\n}\n'


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (
            ["comple"],
            "error: no command is called 'comple'\n  hint: did you mean 'compile' or 'completion' or 'compress'?\n",
        ),
        (["zzz"], "error: no command is called 'zzz'\n  hint: optc --help lists the commands\n"),
        (["--versio"], "error: no option is called '--versio'\n  at optc\n  hint: did you mean --version?\n"),
        (["passes", "--jsn"], "error: no option is called '--jsn'\n  at optc passes\n  hint: did you mean --json?\n"),
        (["compile"], "error: missing argument 'MODEL'\n  at optc compile\n  hint: optc compile --help\n"),
        (
            ["bench", "a", "--threads", "0"],
            "error: invalid value for '--threads': 0 is not in the range x>=1\n  at optc bench\n"
            "  hint: optc bench --help\n",
        ),
        (
            ["compress", "m.onnx", "--ratio", "nan"],
            "error: invalid value for '--ratio': 'nan' is no finite number\n  at optc compress\n"
            "  hint: optc compress --help\n",
        ),
        (
            ["compile", "m.onnx", "--calib", "x.npy", "--labels", "y.npy", "--max-drop", "nan"],
            "error: 'nan' is no share\n  at --max-drop\n  hint: --max-drop 0.5%\n",
        ),
        (
            ["compile", "m.onnx", "--calib", "x.npy", "--std", "0.2,0"],
            "error: pixels cannot be divided by 0\n  at --std\n  hint: --std 0.5,0.5,0.5\n",
        ),
        (
            ["compile", "m.onnx", "--shape", "x=1,a"],
            "error: 'x=1,a' is no shape\n  at --shape\n  dimensions are whole numbers\n  hint: --shape x=1,3,224,224\n",
        ),
        (["opt", "m.onnx", "--dim", "batch"], "error: 'batch' binds no dimension\n  at --dim\n  hint: --dim batch=1\n"),
        (["opt", "-", "--dim", "n=1", "--dim", "n=2"], "error: --dim gives 'n' twice\n"),
        (
            ["opt", "-", "--passes", "cse,fold-shape"],
            "error: no pass is called 'fold-shape'\n  at --passes:1:5\n  cse,fold-shape\n      ^~~~~~~~~~\n"
            "  hint: did you mean 'fold-shapes'?\n",
        ),
        (
            ["passes", "fol"],
            "error: no pass is called 'fol'\n  hint: did you mean 'fold'?\n",
        ),
        (
            ["targets", "aarch64", "--calibrate"],
            "error: 'aarch64' cannot be measured here\n  --calibrate measures this machine, 'cpu'\n",
        ),
        (
            ["run", "a", "--input", "x.npy"],
            "error: the input file cannot be read\n  at x.npy\n  No such file or directory\n",
        ),
    ],
)  # fmt: skip
def test_wrong_usage(
    argv: list[str], text: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run(argv)
    captured = capsys.readouterr()
    assert captured.err == text
    assert captured.out == ""
    assert code == (1 if "cannot be read" in text else 2)


def test_a_mistake_in_ir_text_is_shown_where_it_is(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "in.mlir"
    path.write_text(GRAPH.replace("return %x", "return %y"))
    assert run(["opt", str(path)]) == 1
    assert capsys.readouterr().err == (
        f"error: %y is not defined before this line\n  at {path}:2:10\n    return %y\n           ^~\n"
    )


@pytest.mark.parametrize("command", ["opt", "compile", "inspect"])
def test_a_missing_model_is_no_bug(command: str, capsys: Capture, tmp_path: Path) -> None:
    code = run([command, str(tmp_path / "none.onnx"), *(["-o", str(tmp_path / "out")] if command == "compile" else [])])
    err = capsys.readouterr().err
    assert code == 1
    assert err.startswith("error: ") and str(tmp_path / "none.onnx") in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def _raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail() -> Any:
        raise error

    monkeypatch.setattr(registry, "available", fail)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (OptcError("w", where="here", why="because", hint="do"), 1, "error: w\n  at here\n  because\n  hint: do\n"),
        (ModelError("w"), 1, "error: w\n"),
        (UsageError("w"), 2, "error: w\n"),
        (LimitError("w"), 3, "error: w\n"),
        (VerificationFailed("w"), 4, "error: w\n"),
        (InternalError("w"), 70, "error: a bug in optc: w\n  hint: replay it with: optc passes\n"),
        (
            InternalError("w", hint="replay it with: optc opt x"),
            70,
            "error: a bug in optc: w\n  hint: replay it with: optc opt x\n",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/full/file"), 1,
         "error: the machine refused a file operation\n  at /full/file\n  No space left on device\n"),
        (OSError(errno.ENOTDIR, "Not a directory", "file/run"), 1,
         "error: the machine refused a file operation\n  at file/run\n  Not a directory\n"),
        (MemoryError(), 1,
         "error: the machine is out of memory\n  hint: close other programs, or bind smaller shapes\n"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1,
         "error: the Python package 'torch' is missing\n  hint: optc doctor shows what is installed\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)  # fmt: skip
def test_exit_codes(
    error: BaseException, code: int, text: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _raising(monkeypatch, error)
    assert run(["passes"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", text)


@pytest.mark.parametrize("error", [KeyError("conv3"), ValueError("bad"), IndexError("list index out of range")])
def test_what_nobody_foresaw_is_a_bug_with_a_replay_command(
    error: Exception, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _raising(monkeypatch, error)
    assert run(["passes", "my pass"]) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: a bug in optc"
    assert lines[1].startswith("  at test_errors.py:")
    assert lines[2:] == [f"  {type(error).__name__}: {error}", "  hint: replay it with: optc passes 'my pass' -v"]


def test_verbose_adds_the_traceback(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    _raising(monkeypatch, ValueError("bad"))
    assert run(["passes", "-v"]) == 70
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):") and "error: a bug in optc" in err


def test_json_holds_the_error_too(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    _raising(monkeypatch, LimitError("too big", where="m.onnx", hint="allow more"))
    assert run(["passes", "--json"]) == 3
    captured = capsys.readouterr()
    expected = {"what": "too big", "where": "m.onnx", "why": None, "hint": "allow more", "exit_code": 3}
    assert json.loads(captured.out) == {"error": expected}
    assert captured.err == "error: too big\n  at m.onnx\n  hint: allow more\n"


def test_help_documents_every_exit_code(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for line in (
        "0   done",
        "1   the input",
        "2   wrong usage",
        "3   a limit",
        "4   verification",
        "70  a bug in optc",
    ):
        assert f"  {line}" in out
    flowing = " ".join(out.split())
    assert all(f"  {name} " in out and text in flowing for name, text in COMMANDS.items())


def commands() -> list[str]:
    """All that can be run, those of groups with the group's name."""
    context = click.Context(cli)
    found = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        inner = command.list_commands(context) if isinstance(command, click.Group) else None
        found += [name] if inner is None else [f"{name} {each}" for each in inner]
    return found


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_json_and_verbose(name: str, capsys: Capture) -> None:
    assert run([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: optc {name}") and "--json" in out and "--verbose" in out
