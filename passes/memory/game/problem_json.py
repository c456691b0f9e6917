"""Mapping games as JSON files: what `optc memory map --problem` writes and `optc memory train` reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from optc.errors import OptcError
from optc.passes.memory.game.problem import Access, Place, Problem, Tensor, check


def write_problem(path: Path, problem: Problem) -> None:
    """Write a game.

    Raises:
        OptcError: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(asdict(problem)) + "\n", encoding="utf-8")
    except OSError as fault:
        raise OptcError("the game cannot be written", where=str(path), why=fault.strerror) from fault


def read_problem(path: Path) -> Problem:
    """The game of a file.

    Raises:
        OptcError: the file cannot be read or holds no game.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise OptcError("the game cannot be read", where=str(path), why=fault.strerror) from fault
    except ValueError as fault:
        raise OptcError("the file is no JSON", where=str(path), why=str(fault)) from fault
    try:
        tensors = [
            Tensor(**{**each, "accesses": tuple(Access(**access) for access in each["accesses"])})
            for each in content["tensors"]
        ]
        memories = tuple(Place(**each) for each in content["memories"])
        problem = Problem(memories, tuple(content["steps"]), tuple(content["compute"]), tuple(tensors))
        steps = [access.step for tensor in problem.tensors for access in tensor.accesses]
        ordered = all(
            tensor.accesses and all(a.step < b.step for a, b in zip(tensor.accesses, tensor.accesses[1:], strict=False))
            for tensor in problem.tensors
        )
        homes = all(0 <= tensor.home < len(memories) and tensor.size > 0 for tensor in problem.tensors)
        within = all(0 <= step < len(problem.steps) for step in steps) and len(problem.compute) == len(problem.steps)
        if not (ordered and homes and within):
            raise ValueError("a tensor's home or accesses are not of this game")
    except (KeyError, TypeError, ValueError) as fault:
        raise OptcError("the file holds no mapping game", where=str(path), why=str(fault)) from fault
    check(problem)
    return problem
