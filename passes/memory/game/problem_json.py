"""Mapping games as JSON files: what `optc memory map --problem` writes and `optc memory train` reads."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
        problem = _problem(content)
    except KeyError as fault:
        raise OptcError("the file holds no mapping game", where=str(path), why=f"{fault} is missing") from fault
    except (TypeError, ValueError) as fault:
        raise OptcError("the file holds no mapping game", where=str(path), why=str(fault)) from fault
    check(problem)
    return problem


def _problem(content: Any) -> Problem:
    """The game of parsed JSON. Raises KeyError, TypeError or ValueError where it is none."""
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    memories = tuple(Place(**each) for each in content["memories"])
    for memory in memories:
        if not (_whole(memory.capacity) and _positive(memory.rate)):
            raise ValueError(f"the memory '{memory.name}' needs a capacity in whole bytes and a rate above 0")
    steps, compute = tuple(content["steps"]), tuple(content["compute"])
    if not steps or len(compute) != len(steps) or not all(_number(each) and each >= 0 for each in compute):
        raise ValueError("'compute' needs seconds for each of the steps, of which there must be some")
    tensors = []
    for each in content["tensors"]:
        tensor = Tensor(**{**each, "accesses": tuple(Access(**access) for access in each["accesses"])})
        used = [access.step for access in tensor.accesses]
        counts = [tensor.size, tensor.home, *used, *(access.bytes for access in tensor.accesses)]
        if not all(map(_whole, counts)) or tensor.size == 0 or tensor.home >= len(memories):
            raise ValueError(f"the size, the home or an access of '{tensor.name}' is not of this game")
        if not used or used != sorted(set(used)) or used[-1] >= len(steps):
            raise ValueError(f"the accesses of '{tensor.name}' are not by rising step")
        tensors.append(tensor)
    return Problem(memories, steps, compute, tuple(tensors))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
