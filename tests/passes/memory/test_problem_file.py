"""Allocation problems as files: what is read is what was written, and every fault is named with its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.errors import OptcError
from optc.passes.memory.plan import Buffer
from optc.passes.memory.problem_file import first_fault, read_problem, write_solution

PROBLEM = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n"


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "problem.csv"
    path.write_text(PROBLEM)
    return path


def test_a_solution_reads_back(problem: Path) -> None:
    content = read_problem(problem)
    assert content.names == ("b1", "b2", "b3", "b4", "b5")
    assert content.buffers[3] == Buffer(9, 21, 4)
    assert content.offsets is None
    write_solution(problem, content, [8, 8, 4, 4, 0])
    again = read_problem(problem)
    assert (again.names, again.buffers, again.offsets) == (content.names, content.buffers, (8, 8, 4, 4, 0))
    assert first_fault(again, 12) is None
    assert problem.read_text().startswith("id,lower,upper,size,offset\nb1,0,3,4,8\n")


@pytest.mark.parametrize(
    ("offsets", "fault"),
    [
        ([8, 8, 4, 4, 2], "buffers 'b3' and 'b5' overlap"),
        ([8, 9, 4, 4, 0], "buffer 'b2' ends at 13, beyond the capacity 12"),
        ([-1, 8, 4, 4, 0], "buffer 'b1' lies at the negative offset -1"),
    ],
)
def test_faults_of_solutions(problem: Path, offsets: list[int], fault: str) -> None:
    write_solution(problem, read_problem(problem), offsets)
    assert first_fault(read_problem(problem), 12) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,lower,size\n", "the allocation problem has no column 'upper'\n  at {}\n"),
        ("id,lower,upper,size\na,0,x,4\n", "column 'upper' holds no whole number\n  at {}:2\n  it holds 'x'"),
        ("id,lower,upper,size\na,0,1,4\nb,1\n", "column 'upper' holds no whole number\n  at {}:3\n  it holds ''"),
        ("id,lower,upper,size\na,3,3,4\n", "buffer 'a' is never live\n  at {}:2\n  lower 3, upper 3"),
        ("id,lower,upper,size\na,3,4,-4\n", "buffer 'a' has a negative size\n  at {}:2\n  size -4"),
    ],
)
def test_faults_of_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(OptcError) as caught:
        read_problem(path)
    assert str(caught.value).startswith(message.format(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptcError, match="the allocation problem cannot be read"):
        read_problem(tmp_path / "none.csv")
