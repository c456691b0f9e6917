"""The solvers of the mapping game behind one call: the best mapping that any of them finds stands."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from optc.errors import OptcError, UsageError
from optc.passes.memory.game.engine import SHAPES, Played, Settings, Weights, play, search
from optc.passes.memory.game.ilp import solve
from optc.passes.memory.game.problem import Problem
from optc.passes.memory.game.simulation import stays
from optc.passes.memory.plan import Buffer, MemoryPlan, plan_memory

Solver = Callable[[Problem], Played]
"""A game, played to its end."""

SHIPPED = "agent.npz"
_ATTEMPTS = 12


@dataclass(frozen=True)
class Mapped:
    """A mapping with addresses.

    Attributes:
        played: the finished game.
        solver: that found it.
        seconds: by solver, of the mapping that it found; `home` is the time with every tensor at its home.
        plans: by memory, of what stays there; offsets in the order of `simulation.stays`.
    """

    played: Played
    solver: str
    seconds: dict[str, float]
    plans: dict[int, MemoryPlan]


def load_weights(path: Path | None = None) -> Weights:
    """The network of a file, or the shipped one.

    Raises:
        OptcError: the file cannot be read or holds no such network.
    """
    source = path or files("optc.passes.memory.game").joinpath(SHIPPED)
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in SHAPES}
    except OSError as fault:
        raise OptcError("the agent cannot be read", where=str(source), why=fault.strerror) from fault
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise OptcError("the file holds no agent", where=str(source), why=str(fault)) from fault
    for name, shape in SHAPES.items():
        if weights[name].shape != shape:
            why = f"'{name}' has the shape {weights[name].shape} instead of {shape}"
            raise OptcError("the agent is of another version", where=str(source), why=why)
    return weights


def map_memory(
    problem: Problem,
    solvers: Sequence[str] = ("greedy", "agent"),
    *,
    weights: Weights | None = None,
    settings: Settings | None = None,
) -> Mapped:
    """The fastest mapping that some solvers find, with offsets for what stays in each memory.

    The game counts bytes; where what stays somewhere cannot be packed without gaps, it is played again with a little
    less room, until it can.

    Args:
        problem: the game.
        solvers: of SOLVERS; the greedy one is always asked.
        weights: of the agent; None for the shipped ones.
        settings: of the agent's search.

    Raises:
        UsageError: a solver is unknown.
        OptcError: the integer program cannot be used.
    """
    unknown = [name for name in solvers if name not in SOLVERS]
    if unknown:
        raise UsageError(f"'{unknown[0]}' is no solver", hint=f"one of {', '.join(SOLVERS)}")
    home = play(problem, (0,) * problem.access_at[-1])
    found = {"home": _packed(problem, lambda _: home)}
    for name, solver in SOLVERS.items():
        if name in ("greedy", *solvers):
            found[name] = _packed(problem, solver(weights, settings or Settings()))
    best = min(found, key=lambda name: found[name][0].seconds)
    played, plans = found[best]
    return Mapped(played, best, {name: each.seconds for name, (each, _) in found.items()}, plans)


def _greedy(weights: Weights | None, settings: Settings) -> Solver:
    return play


def _agent(weights: Weights | None, settings: Settings) -> Solver:
    used = load_weights() if weights is None else weights
    return lambda game: play(game, search(game, used, settings).choices)


def _ilp(weights: Weights | None, settings: Settings) -> Solver:
    return lambda game: solve(game).played


SOLVERS: dict[str, Callable[[Weights | None, Settings], Solver]] = {"greedy": _greedy, "agent": _agent, "ilp": _ilp}
"""By the name that `optc memory map --solver` takes: from the agent's weights and settings to a solver."""


def _packed(problem: Problem, solver: Solver) -> tuple[Played, dict[int, MemoryPlan]]:
    game = problem
    for _ in range(_ATTEMPTS):
        played = solver(game)
        plans = pack(problem, played)
        beyond = {memory: plan.arena_bytes - problem.memories[memory].capacity for memory, plan in plans.items()}
        if all(excess <= 0 for excess in beyond.values()):
            return played, plans
        memories = [
            replace(each, capacity=each.capacity - max(0, beyond.get(number, 0)) - each.capacity // 100)
            if beyond.get(number, 0) > 0
            else each
            for number, each in enumerate(game.memories)
        ]
        game = replace(game, memories=tuple(memories))
    played = play(problem, (0,) * problem.access_at[-1])
    return played, pack(problem, played)


def pack(problem: Problem, played: Played) -> dict[int, MemoryPlan]:
    """Offsets for what stays in each memory that is not its home."""
    listed = stays(problem, played)
    plans = {}
    for memory in sorted({stay.memory for stay in listed}):
        buffers = [Buffer(s.start, s.end, problem.tensors[s.tensor].size) for s in listed if s.memory == memory]
        plans[memory] = plan_memory(buffers, alignment=1, capacity=problem.memories[memory].capacity)
    return plans
