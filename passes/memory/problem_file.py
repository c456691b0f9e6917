"""Allocation problems and solutions as CSV, in the columns that MiniMalloc's benchmarks have.

A problem has `id,lower,upper,size`: a buffer is live in the steps [lower, upper). A solution adds `offset`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optc.errors import OptcError
from optc.passes.memory.plan import Buffer

_COLUMNS = ("id", "lower", "upper", "size")
_LARGEST = 1 << 62


@dataclass(frozen=True)
class ProblemFile:
    """A file's buffers, in its order.

    Attributes:
        names: the column `id`.
        buffers: times in the file's own unit, sizes in bytes.
        offsets: in bytes; None where the file has no such column.
    """

    names: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...] | None


def read_problem(path: Path) -> ProblemFile:
    """Read a problem or a solution; columns besides the known ones are ignored.

    Raises:
        OptcError: the file cannot be read, lacks a column, or has a row that is no buffer (the row is named).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "it is no text"
        raise OptcError("the allocation problem cannot be read", where=str(path), why=why) from fault
    rows = csv.DictReader(text.splitlines())
    header = tuple(rows.fieldnames or ())
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        raise OptcError(
            f"the allocation problem has no column '{missing[0]}'",
            where=str(path),
            hint=f"the first line must hold {','.join(_COLUMNS)}",
        )
    names: list[str] = []
    buffers: list[Buffer] = []
    offsets: list[int] = []
    for number, row in enumerate(rows, 2):
        where = f"{path}:{number}"
        start, end, size = (_number(row, column, where) for column in _COLUMNS[1:])
        if start >= end:
            raise OptcError(f"buffer '{row['id']}' is never live", where=where, why=f"lower {start}, upper {end}")
        if size < 0:
            raise OptcError(f"buffer '{row['id']}' has a negative size", where=where, why=f"size {size}")
        names.append(str(row["id"]))
        buffers.append(Buffer(start, end, size))
        if "offset" in header:
            offsets.append(_number(row, "offset", where))
    return ProblemFile(tuple(names), tuple(buffers), tuple(offsets) if "offset" in header else None)


def _number(row: dict[str, str], column: str, where: str) -> int:
    text = row[column]
    try:
        value = int(text)
    except (TypeError, ValueError):
        value = _LARGEST
    if not -_LARGEST < value < _LARGEST:
        raise OptcError(f"column '{column}' holds no whole number", where=where, why=f"it holds '{text or ''}'")
    return value


def write_solution(path: Path, problem: ProblemFile, offsets: Sequence[int]) -> None:
    """Write the problem with the column `offset`; an existing file is replaced as a whole or not at all.

    Raises:
        OptcError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*_COLUMNS, "offset"])
            for name, each, offset in zip(problem.names, problem.buffers, offsets, strict=True):
                writer.writerow([name, each.start, each.end, each.size, offset])
        temporary.replace(path)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        raise OptcError("the solution cannot be written", where=str(path), why=fault.strerror) from fault


def first_fault(problem: ProblemFile, capacity: int | None) -> str | None:
    """What is wrong with a solution: a negative offset, two buffers that overlap, or one beyond the capacity.

    Args:
        problem: with offsets.
        capacity: bytes; None for any.
    """
    assert problem.offsets is not None
    live: list[int] = []
    for index in sorted(range(len(problem.names)), key=lambda i: problem.buffers[i].start):
        buffer, offset, name = problem.buffers[index], problem.offsets[index], problem.names[index]
        if offset < 0:
            return f"buffer '{name}' lies at the negative offset {offset}"
        if capacity is not None and offset + buffer.size > capacity:
            return f"buffer '{name}' ends at {offset + buffer.size}, beyond the capacity {capacity}"
        live = [other for other in live if problem.buffers[other].end > buffer.start]
        for other in live:
            begin = problem.offsets[other]
            if offset < begin + problem.buffers[other].size and begin < offset + buffer.size:
                return f"buffers '{problem.names[other]}' and '{name}' overlap"
        live.append(index)
    return None
