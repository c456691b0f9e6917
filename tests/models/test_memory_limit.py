"""An arena is held to the limit, and the message says what would be enough and which steps set it."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.cli.app import run

MODEL = Path(__file__).parents[2] / "samples" / "models" / "cifar10_resnet8.onnx"
Capture = pytest.CaptureFixture[str]


def compile_within(limit: str, folder: Path) -> int:
    options = ["--dim", "batch=1", "--tune", "0", "--no-verify", "--threads", "1", "-o", str(folder)]
    return run(["compile", str(MODEL), *options, "--memory-limit", limit])


def test_a_limit_that_is_too_small_names_the_least_and_the_steps(tmp_path: Path, capsys: Capture) -> None:
    assert compile_within("64K", tmp_path / "a") == 3
    error = capsys.readouterr().err
    lines = error[error.index("error: ") :].strip().splitlines()  # slow machines show progress before
    needed = int(lines[0].split("an arena of ")[1].split()[0])
    assert lines[0] == f"error: the model needs an arena of {needed} bytes, and 65536 are allowed"
    assert lines[1] == "  at --memory-limit"
    assert lines[2].startswith("  most is live in '") and lines[2].count("bytes live)") == 3
    assert lines[3] == f"  hint: --memory-limit {needed} works"
    assert not (tmp_path / "a").exists()
    assert compile_within(str(needed - 1), tmp_path / "a") == 3
    assert compile_within(str(needed), tmp_path / "a") == 0


def test_a_size_that_is_none(tmp_path: Path, capsys: Capture) -> None:
    assert compile_within("large", tmp_path / "a") == 2
    assert capsys.readouterr().err.startswith("error: 'large' is no size\n  hint: give bytes (262144), or 256K")
