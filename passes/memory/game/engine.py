"""The rules and the search of the game as compiled code (`rules.c`, `search.c`).

A search plays the rest of the game for each leaf, tens of thousands of times for one model; in Python that would take
minutes. It is built on first use by the compiler that links artifacts anyway.
"""

from __future__ import annotations

import ctypes
import functools
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from optc import cache
from optc.passes.memory.game.problem import Problem
from optc.toolchain import find_compiler

STATE_FEATURES, ACTION_FEATURES, MOST_ACTIONS, HIDDEN = 18, 12, 7, 32

SHAPES: dict[str, tuple[int, ...]] = {
    "policy_state": (HIDDEN, STATE_FEATURES),
    "policy_action": (HIDDEN, ACTION_FEATURES),
    "policy_bias": (HIDDEN,),
    "policy_inner": (HIDDEN, HIDDEN),
    "policy_inner_bias": (HIDDEN,),
    "policy_out": (HIDDEN,),
    "value_in": (HIDDEN, STATE_FEATURES),
    "value_bias": (HIDDEN,),
    "value_inner": (HIDDEN, HIDDEN),
    "value_inner_bias": (HIDDEN,),
    "value_out": (HIDDEN,),
    "value_out_bias": (1,),
}
"""The arrays of a network, in the order in which the search takes them."""

VALUE_SCALE = 0.05
"""What one unit of the value network's result stands for: the logarithm of a ratio of times is small."""

Weights = Mapping[str, np.ndarray]

_SOURCES = ("rules.c", "search.c")
_FLAGS = ["-O3", "-shared", "-fPIC"]


@dataclass(frozen=True)
class Copy:
    """A tensor's bytes move between memories: from the beginning of step `issue` on, before step `deadline` begins."""

    tensor: int
    source: int
    destination: int
    issue: int
    deadline: int


@dataclass(frozen=True)
class Played:
    """A finished game: the choice at each access, the copies in the order in which they were decided, the makespan."""

    choices: tuple[int, ...]
    copies: tuple[Copy, ...]
    seconds: float


@dataclass(frozen=True)
class Settings:
    """How a search plays.

    Attributes:
        simulations: for each decision.
        explore: weight of the prior against what was met (the constant of PUCT).
        trust: share of the network's value in a leaf's worth; the rest is what the greedy baseline reaches from it. The
            rollouts are cheap and exact, and on random games no share of the value did better.
        noise: share of random numbers in the priors at the root, for self-play.
        sampled: so many first decisions are drawn in proportion to their visits, for self-play.
        seed: of these draws.
    """

    simulations: int = 24
    explore: float = 2.0
    trust: float = 0.0
    noise: float = 0.0
    sampled: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Samples:
    """What a game teaches: one row for each decision between several legal actions.

    Attributes:
        state: rows × STATE_FEATURES.
        action: rows × MOST_ACTIONS × ACTION_FEATURES.
        visits: rows × MOST_ACTIONS; -1 where an action is not legal.
    """

    state: np.ndarray
    action: np.ndarray
    visits: np.ndarray


@dataclass(frozen=True)
class Searched:
    """What a search found: the choices of the best mapping met, and seconds of it, of the baseline, and as played."""

    choices: tuple[int, ...]
    best: float
    baseline: float
    played: float
    samples: Samples | None


def play(problem: Problem, choices: tuple[int, ...] | None = None) -> Played:
    """Play given choices; where one is missing (-1) or not legal, what the greedy baseline does."""
    structure = _Structure(problem)
    made = np.full(structure.accesses, -1, np.int32) if choices is None else np.array(choices, np.int32)
    copies = np.zeros((2 * structure.accesses + 1, 5), np.int32)
    seconds = ctypes.c_double()
    count = _library().optc_game_play(structure.pointer, _at(made), ctypes.byref(seconds), _at(copies))
    if count < 0:
        raise MemoryError("the mapping game ran out of memory")
    listed = tuple(Copy(*map(int, row)) for row in copies[:count])
    return Played(tuple(made.tolist()), listed, seconds.value)


def search(problem: Problem, weights: Weights | None, settings: Settings, *, sampling: bool = False) -> Searched:
    """Search a game with a network, or without one; the same arguments give the same result."""
    structure = _Structure(problem)
    net = None
    if weights is not None:
        arrays = [np.ascontiguousarray(weights[name], np.float32) for name in SHAPES]
        net = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    given = _Settings(
        settings.simulations, settings.explore, settings.trust, settings.noise, settings.sampled, settings.seed
    )
    choices = np.full(structure.accesses, -1, np.int32)
    seconds = np.zeros(3)
    room = structure.accesses if sampling else 0
    state = np.zeros((room, STATE_FEATURES), np.float32)
    action = np.zeros((room, MOST_ACTIONS, ACTION_FEATURES), np.float32)
    visits = np.zeros((room, MOST_ACTIONS), np.float32)
    samples = _Samples(state.ctypes.data, action.ctypes.data, visits.ctypes.data, room, 0)
    demand = np.ascontiguousarray(problem.demand, np.float64)
    done = _library().optc_game_search(
        structure.pointer,
        net,
        ctypes.byref(given),
        _at(demand),
        _at(choices),
        _at(seconds),
        ctypes.byref(samples) if sampling else None,
    )
    if not done:
        raise MemoryError("the search of the mapping game ran out of memory")
    count = samples.count
    kept = Samples(state[:count], action[:count], visits[:count]) if sampling else None
    return Searched(tuple(choices.tolist()), float(seconds[1]), float(seconds[0]), float(seconds[2]), kept)


class _Settings(ctypes.Structure):
    _fields_ = (
        ("simulations", ctypes.c_int32),
        ("explore", ctypes.c_double),
        ("trust", ctypes.c_double),
        ("noise", ctypes.c_double),
        ("sampled", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
    )


class _Samples(ctypes.Structure):
    _fields_ = (
        ("state", ctypes.c_void_p),
        ("action", ctypes.c_void_p),
        ("visits", ctypes.c_void_p),
        ("room", ctypes.c_int32),
        ("count", ctypes.c_int32),
    )


_COUNTS = ("memories", "steps", "tensors", "accesses")
_ARRAYS = ("capacity", "rate", "compute", "size", "home", "flags", "access_at", "step", "writes", "moved", "order")


class _ProblemStruct(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_int32) for name in _COUNTS), *((name, ctypes.c_void_p) for name in _ARRAYS))


class _Structure:
    """A problem as the C code takes it; keeps its arrays alive."""

    def __init__(self, problem: Problem) -> None:
        accesses = [access for tensor in problem.tensors for access in tensor.accesses]
        self.accesses = len(accesses)
        flags = [each.at_home + 2 * each.constant + 4 * each.fixed for each in problem.tensors]
        self._arrays: dict[str, np.ndarray[Any, Any]] = {
            "capacity": np.array([each.capacity for each in problem.memories], np.int64),
            "rate": np.array([each.rate for each in problem.memories], np.float64),
            "compute": np.array(problem.compute, np.float64),
            "size": np.array([each.size for each in problem.tensors], np.int64),
            "home": np.array([each.home for each in problem.tensors], np.int32),
            "flags": np.array(flags, np.int32),
            "access_at": np.array(problem.access_at, np.int32),
            "step": np.array([each.step for each in accesses], np.int32),
            "writes": np.array([each.writes for each in accesses], np.int32),
            "moved": np.array([each.bytes for each in accesses], np.int64),
            "order": np.array(problem.order, np.int32),
        }
        counts = (len(problem.memories), len(problem.steps), len(problem.tensors), self.accesses)
        self._structure = _ProblemStruct(*counts, *(self._arrays[name].ctypes.data for name in _ARRAYS))
        self.pointer = ctypes.byref(self._structure)


def _at(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


@functools.cache
def _library() -> ctypes.CDLL:
    folder = files("optc.passes.memory.game")
    source = b"\n".join(folder.joinpath(name).read_bytes() for name in _SOURCES)
    compiler = find_compiler()
    key = repr((source, compiler.command, compiler.version, _FLAGS))

    def build() -> bytes:
        with tempfile.TemporaryDirectory(prefix="optc-game-") as scratch:
            (Path(scratch) / "game.c").write_bytes(source)
            compiler.run([*_FLAGS, "game.c", "-o", "game.so", "-lm"], Path(scratch))
            return (Path(scratch) / "game.so").read_bytes()

    with tempfile.TemporaryDirectory(prefix="optc-game-") as scratch:
        library = Path(scratch) / "game.so"
        library.write_bytes(cache.made("planner", key, build))
        return ctypes.CDLL(os.fspath(library))
