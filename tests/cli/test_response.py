"""Words from files, completion for shells, and what a build asks of `optc compile`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

from optc.cli.app import COMPLETION, run
from optc.cli.response import expanded
from optc.driver.artifacts.depfile import depfile_text, sources_of
from optc.errors import UsageError

Capture = pytest.CaptureFixture[str]


def test_files_stand_for_their_words(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("--dim batch=1 # comment\n'a b'\n")
    outer.write_text(f"model.onnx @{inner}\n--tune 0")
    words = ["compile", f"@{outer}", "@", "--", f"@{inner}"]
    expected = ["compile", "model.onnx", "--dim", "batch=1", "a b", "--tune", "0", "@", "--", f"@{inner}"]
    assert expanded(words) == expected


def test_files_that_cannot_be_read(tmp_path: Path, capsys: Capture) -> None:
    assert run(["compile", f"@{tmp_path}/none"]) == 2
    assert capsys.readouterr().err == (
        f"error: the file of arguments cannot be read\n  at @{tmp_path}/none\n  No such file or directory\n"
    )
    (tmp_path / "open").write_text("'a")
    with pytest.raises(UsageError, match="the file of arguments has an open quotation"):
        expanded([f"@{tmp_path}/open"])
    (tmp_path / "self").write_text(f"@{tmp_path}/self")
    with pytest.raises(UsageError, match="files of arguments name one another"):
        expanded([f"@{tmp_path}/self"])
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="it is no text in UTF-8"):
        expanded([f"@{tmp_path}/binary"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: Capture) -> None:
    assert run(["completion", shell]) == 0
    assert f"{COMPLETION}={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "found"),
    [("optc comp", {"compile", "compress", "completion"}), ("optc compile --memory", {"--memory-limit"})],
)
def test_words_are_completed(typed: str, found: set[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPLETION, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert run([]) == 0
    assert {line.removeprefix("plain,") for line in capsys.readouterr().out.split()} == found


def test_completion_of_nonsense_is_silent(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in ((COMPLETION, "bash_complete"), ("COMP_WORDS", "optc nonsense x"), ("COMP_CWORD", "2")):
        monkeypatch.setenv(name, text)
    assert run([]) == 1
    assert capsys.readouterr() == ("", "")


def test_a_depfile_names_all_that_a_compile_reads(tmp_path: Path) -> None:
    net = model([node("MatMul", "x w", "y")], [value("x", [1, 64])], ["y"], {"w": np.ones((64, 64), np.float32)})
    onnx.save(net, tmp_path / "a b.onnx", save_as_external_data=True, location="w$.bin", size_threshold=0)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "1.npy").touch()
    (tmp_path / "mine.toml").touch()
    sources = sources_of(tmp_path / "a b.onnx", str(tmp_path / "mine.toml"), (None, tmp_path / "data"))
    assert [path.name for path in sources] == ["a b.onnx", "w$.bin", "mine.toml", "1.npy"]
    rules = depfile_text(tmp_path / "out", sources)
    (tmp_path / "Makefile").write_text(f"include rules\n{tmp_path}/out/manifest.json: ; touch $@\n")
    (tmp_path / "rules").write_text(rules)
    (tmp_path / "out").mkdir()

    def make() -> int:
        """0: up to date; 1: not."""
        command = ["make", "-q", f"{tmp_path}/out/manifest.json"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True).returncode

    assert make() == 1
    (tmp_path / "out" / "manifest.json").touch()
    assert make() == 0
    for path in sources:
        os.utime(path, (2**31, 2**31))
        assert make() == 1
        os.utime(path, (1, 1))
    (tmp_path / "w$.bin").unlink()
    assert make() == 1, "what is gone is no error, but something changed"
