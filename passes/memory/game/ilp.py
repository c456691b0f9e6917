"""The mapping game of a small program as an integer linear program, solved by HiGHS.

Left out are copies home: what a step wrote in a fast memory stays there until its last use. Copies may run in any order
that meets their deadlines, as the demand bound of earliest-deadline-first says, so the program's objective is never
above the time of such a mapping in the simulator, where copies run in the order of their issue.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from optc.errors import OptcError
from optc.passes.memory.game.engine import Played, play
from optc.passes.memory.game.problem import Problem

MOST_ACCESSES = 80


@dataclass(frozen=True)
class Solved:
    """The mapping of a program's solution as the game plays it, the program's objective, and whether it is optimal."""

    played: Played
    bound: float
    optimal: bool


@dataclass
class _Row:
    terms: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    at_most: float = 0.0


@dataclass(frozen=True)
class _Fetch:
    variable: int
    issue: int
    deadline: int
    seconds: float


class _Program:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.names: list[bool] = []  # by variable: whether it is 0 or 1, else it is a time
        self.rows: list[_Row] = []
        steps = range(len(problem.steps))
        self.length = [self.variable(False) for _ in steps]
        self.stall = [self.variable(False) for _ in steps]
        self.traffic = [_Row() for _ in steps]
        self.slow = [_Row() for _ in steps]  # of it at homes, negative constants in `at_most`
        self.room: dict[tuple[int, int], _Row] = defaultdict(_Row)
        self.fetches: list[_Fetch] = []
        self.served: dict[tuple[int, int, int], int] = {}
        self.held: dict[tuple[int, int], int] = {}
        homes = {tensor.home for tensor in problem.tensors}
        for number in range(len(problem.tensors)):
            self._tensor(number, homes)
        self._times()

    def variable(self, binary: bool) -> int:
        self.names.append(binary)
        return len(self.names) - 1

    def _tensor(self, number: int, homes: set[int]) -> None:
        problem, tensor = self.problem, self.problem.tensors[number]
        home = problem.memories[tensor.home]
        memories = [] if tensor.fixed else range(tensor.home)
        for memory in memories:
            if tensor.constant:
                held = self.held[number, memory] = self.variable(True)
                for t in range(len(problem.steps)):
                    self.room[memory, t].terms[held] += tensor.size
        for k, access in enumerate(tensor.accesses):
            t = access.step
            self.traffic[t].at_most -= access.bytes / home.rate
            self.slow[t].at_most -= access.bytes / home.rate
            at_home = _Row(at_most=1.0)
            for memory in memories:
                served = self.served[number, k, memory] = self.variable(True)
                at_home.terms[served] += 1.0
                rate = problem.memories[memory].rate
                self.traffic[t].terms[served] += access.bytes / rate - access.bytes / home.rate
                self.slow[t].terms[served] += (access.bytes / rate if memory in homes else 0.0) - (
                    access.bytes / home.rate
                )
                self._arrival(number, k, memory, served)
            self.rows.append(at_home)

    def _arrival(self, number: int, k: int, memory: int, served: int) -> None:
        """What is served from a memory was written there, stayed there, was fetched, or is held there for good."""
        tensor = self.problem.tensors[number]
        t = tensor.accesses[k].step
        before = tensor.accesses[k - 1].step if k else -1
        reasons = _Row(terms=defaultdict(float, {served: 1.0}))
        if k == 0 and not tensor.at_home:
            reasons.at_most = 1.0
            self.room[memory, t].terms[served] += tensor.size
        if k:
            kept, previous = self.variable(True), self.served[number, k - 1, memory]
            reasons.terms[kept] -= 1.0
            self.rows.append(_Row({kept: 1.0, previous: -1.0}))
            for s in range(before + 1, t + 1):
                self.room[memory, s].terms[kept] += tensor.size
            if not tensor.at_home:
                self.rows.append(_Row({previous: 1.0, served: -1.0}))
        if k or tensor.at_home:
            rates = (self.problem.memories[tensor.home].rate, self.problem.memories[memory].rate)
            for issue in range(before + 1, t + 1):
                fetch = self.variable(True)
                reasons.terms[fetch] -= 1.0
                self.fetches.append(_Fetch(fetch, issue, t, tensor.size / min(rates)))
                for s in range(issue, t + 1):
                    self.room[memory, s].terms[fetch] += tensor.size
                if not tensor.at_home:
                    for other in range(tensor.home):
                        self.rows.append(_Row({fetch: 1.0, self.served[number, k - 1, other]: 1.0}, 1.0))
        if (number, memory) in self.held:
            reasons.terms[self.held[number, memory]] -= 1.0
        self.rows.append(reasons)

    def _times(self) -> None:
        problem = self.problem
        for t, row in enumerate(self.traffic):
            row.terms[self.length[t]] -= 1.0
            self.rows.append(row)
        for (memory, _), row in self.room.items():
            row.at_most = float(problem.memories[memory].capacity)
            self.rows.append(row)
        for issue in sorted({fetch.issue for fetch in self.fetches}):
            for deadline in sorted({fetch.deadline for fetch in self.fetches if fetch.issue >= issue}):
                row = _Row()
                for fetch in self.fetches:
                    if issue <= fetch.issue and fetch.deadline <= deadline:
                        row.terms[fetch.variable] += fetch.seconds
                for s in range(issue, deadline + 1):
                    row.terms[self.stall[s]] -= 1.0
                for s in range(issue, deadline):
                    row.terms[self.length[s]] -= 1.0
                    for variable, coefficient in self.slow[s].terms.items():
                        row.terms[variable] += coefficient
                    row.at_most += self.slow[s].at_most
                self.rows.append(row)

    def choices(self, values: np.ndarray) -> tuple[int, ...]:
        """The choices of the game that a solution stands for."""
        fast = len(self.problem.memories) - 1
        found = []
        for number, tensor in enumerate(self.problem.tensors):
            for k in range(len(tensor.accesses)):
                memories = [] if tensor.fixed else range(tensor.home)
                memory = next((m for m in memories if values[self.served[number, k, m]] > 0.5), None)
                held = memory is not None and values[self.held[number, memory]] > 0.5 if tensor.constant else False
                found.append(0 if memory is None else 1 + memory + (fast if held else 0))
        return tuple(found)


def solve(problem: Problem, *, seconds: float = 60.0) -> Solved:
    """The best mapping that the integer program knows.

    Args:
        problem: with at most MOST_ACCESSES accesses.
        seconds: that HiGHS may take; then the best found so far stands.

    Raises:
        OptcError: the problem is too large, or nothing was found in time.
    """
    count = problem.access_at[-1]
    if count > MOST_ACCESSES:
        raise OptcError(
            "the game is too large for an integer program",
            why=f"it has {count} accesses, and {MOST_ACCESSES} are practical",
            hint="--solver agent or --solver greedy",
        )
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_matrix

    program = _Program(problem)
    variables, steps = len(program.names), len(problem.steps)
    scale = 1.0 / max(float(np.max(problem.compute)), 1e-12)  # times of about 1 suit HiGHS's tolerances
    times = np.array([not binary for binary in program.names])
    entries = [(r, v, x) for r, row in enumerate(program.rows) for v, x in row.terms.items()]
    rows, columns, coefficients = (np.array(part) for part in zip(*entries, strict=True))
    at_most = np.array([row.at_most for row in program.rows])
    matrix = coo_matrix((coefficients, (rows, columns)), shape=(len(program.rows), variables)).tocsr()
    # Rows with times are scaled so that a time variable counts in units of the longest step.
    unit = np.where(times, 1.0 / scale, 1.0)
    matrix = matrix.multiply(unit[None, :]).tocsr()
    largest = np.maximum(abs(matrix).max(axis=1).toarray().ravel(), 1e-30)
    constraint = LinearConstraint(matrix.multiply(1.0 / largest[:, None]).tocsr(), -np.inf, at_most / largest)
    lower = np.zeros(variables)
    lower[program.length] = np.array(problem.compute) * scale
    objective = np.zeros(variables)
    objective[: 2 * steps] = 1.0
    result = milp(
        objective,
        constraints=constraint,
        integrality=(~times).astype(int),
        bounds=Bounds(lower, np.where(times, np.inf, 1.0)),
        options={"time_limit": seconds, "mip_rel_gap": 1e-6},
    )
    if result.x is None:
        raise OptcError("the integer program found no mapping in time", why=result.message)
    bound = float(result.mip_dual_bound if result.mip_dual_bound is not None else result.fun) / scale
    return Solved(play(problem, program.choices(result.x)), bound, result.status == 0)
