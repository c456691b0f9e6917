"""`optc memory` from the command line: solutions, checks, exit codes and texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optc.cli.app import run

Capture = pytest.CaptureFixture[str]

PROBLEM = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n"


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "problem.csv"
    path.write_text(PROBLEM)
    return path


def test_a_plan_is_written_and_passes_the_check(problem: Path, tmp_path: Path, capsys: Capture) -> None:
    solution = tmp_path / "solution.csv"
    assert run(["memory", "plan", str(problem), "--capacity", "12", "-o", str(solution)]) == 0
    assert "12 bytes (12 B), optimal" in capsys.readouterr().out
    assert run(["memory", "check", str(solution), "--capacity", "12"]) == 0
    assert capsys.readouterr().out.startswith("buffers       5, none overlap\n")


def test_a_capacity_that_is_too_small(problem: Path, tmp_path: Path, capsys: Capture) -> None:
    solution = tmp_path / "solution.csv"
    assert run(["memory", "plan", str(problem), "--capacity", "11", "-o", str(solution)]) == 3
    assert capsys.readouterr().err == (
        f"error: the buffers do not fit into 11 bytes\n  at {problem}\n  at least 12 bytes are needed\n"
        "  hint: --capacity 12 works\n"
    )
    assert not solution.exists()


def test_alignment_applies_to_offsets(problem: Path, capsys: Capture) -> None:
    assert run(["memory", "plan", str(problem), "--align", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["arena_bytes"] == 48
    assert all(offset % 16 == 0 for offset in found["offsets"].values())


def test_a_wrong_solution(problem: Path, capsys: Capture) -> None:
    problem.write_text("id,lower,upper,size,offset\na,0,2,4,0\nb,1,3,4,2\n")
    assert run(["memory", "check", str(problem)]) == 1
    assert capsys.readouterr().err == (
        f"error: the solution is wrong\n  at {problem}\n  buffers 'a' and 'b' overlap\n"
    )


def test_a_problem_is_no_solution(problem: Path, capsys: Capture) -> None:
    assert run(["memory", "check", str(problem)]) == 2
    assert "it has no column 'offset'" in capsys.readouterr().err
