"""The code of the documentation does what the pages say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXTEND = sorted(path.name for path in (DOCS / "extend").glob("*.md"))
_BLOCK = re.compile(r"^```(python|toml|sh)\n(.*?)^```", re.M | re.S)
_FILE = re.compile(r"# (\w+\.\w+)\n")
_MOST_LINES = 40

_SHELL = "from optc.cli.app import run\nassert run({!r}) == 0\n"


def _program(page: Path, folder: Path, more: tuple[str, ...] = ()) -> str:
    """The blocks of a page as one program; blocks that begin with a file's name are written there instead."""
    lines = []
    for kind, code in _BLOCK.findall(page.read_text(encoding="utf-8")):
        named = _FILE.match(code)
        if named:
            (folder / named.group(1)).write_text(code, encoding="utf-8")
        elif kind == "python":
            lines.append(code)
        else:
            commands = [shlex.split(line) for line in code.splitlines()]
            assert all(words[0] == "optc" for words in commands)
            lines += [_SHELL.format([*words[1:], *(more if words[1] == "compile" else ())]) for words in commands]
    return "\n".join(lines)


def _run(program: str, folder: Path) -> None:
    environment = {**os.environ, "OPTC_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", EXTEND)
def test_what_extends_optc_is_short_and_works(page: str, tmp_path: Path) -> None:
    program = _program(DOCS / "extend" / page, tmp_path)
    assert program
    blocks = _BLOCK.findall((DOCS / "extend" / page).read_text(encoding="utf-8"))
    assert sum(len(code.splitlines()) for _, code in blocks) < _MOST_LINES
    _run(program, tmp_path)


def test_the_tutorial(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    _run(_program(DOCS / "tutorial.md", tmp_path, more=("--tune", "0", "--threads", "1")), tmp_path)
    assert (tmp_path / "build" / "tutorial.html").stat().st_size > 50_000
