"""The cheapest placement that fits into the memory of the device: the cut as an integer program with rows for memory.

Without those rows the program's matrix is totally unimodular, so that the solver hardly ever branches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from optc.errors import InternalError, LimitError
from optc.passes.split.condense import condense
from optc.passes.split.cut import cheapest, fixed_cost, returned_cost, sent_cost, task_cost
from optc.passes.split.problem import Conditions, Goal, Placement, SplitProblem, device_memory, live_rows

_SECONDS = 60.0


Solver = Callable[[Conditions, Goal], Placement]


def solver(problem: SplitProblem, conditions: Conditions, memory: int | None = None) -> Solver:
    """What finds the cheapest placements for many links and goals.

    Args:
        problem: to be cut.
        conditions: the loads and the idle power that all conditions it is asked for share.
        memory: bytes that the device has; None: enough.

    Returns:
        a function from conditions and a goal to the placement that costs least among those that fit. It raises
        LimitError when the device has not even the memory for what must run there.
    """
    small = condense(problem, conditions)

    def solve(now: Conditions, goal: Goal) -> Placement:
        free = small.expand(cheapest(small.problem, now, goal))
        if memory is None or device_memory(problem, free) <= memory:
            return free
        return _solve(problem, now, goal, memory)

    return solve


def cheapest_within(problem: SplitProblem, conditions: Conditions, goal: Goal, memory: int | None) -> Placement:
    """One answer of `solver`."""
    return solver(problem, conditions, memory)(conditions, goal)


class _Program:
    """Binary variables with a cost, and rows `sum(coefficient * variable) >= least`."""

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.rows: list[tuple[dict[int, float], float]] = []

    def variable(self, cost: float, *, lower: float = 0.0, upper: float = 1.0) -> int:
        self.costs.append(cost)
        self.lower.append(lower)
        self.upper.append(upper)
        return len(self.costs) - 1

    def at_least(self, terms: dict[int, float], least: float) -> None:
        self.rows.append((terms, least))

    def solve(self) -> np.ndarray | None:
        """The values of the variables; None where no choice keeps all rows."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        entries = [(row, column, c) for row, (terms, _) in enumerate(self.rows) for column, c in terms.items()]
        rows, columns, coefficients = zip(*entries, strict=True)
        matrix = csr_array((coefficients, (rows, columns)), shape=(len(self.rows), len(self.costs)))
        costs = np.array(self.costs)
        found = milp(
            costs / max(float(np.abs(costs).max()), 1e-300),
            integrality=np.ones(len(costs)),
            bounds=Bounds(np.array(self.lower), np.array(self.upper)),
            constraints=LinearConstraint(matrix, np.array([least for _, least in self.rows]), np.inf),
            options={"mip_rel_gap": 0.0, "time_limit": _SECONDS},
        )
        if found.x is None and found.status != 2:
            raise InternalError("the integer program of a split was not solved", why=str(found.message))
        return None if found.x is None else np.round(found.x)


def _solve(problem: SplitProblem, conditions: Conditions, goal: Goal, memory: int) -> Placement:
    program = _Program()
    hops = range(problem.tiers - 1)
    # far[i][hop]: whether task i is beyond the link. The cost of its tier telescopes over the links that it is beyond.
    far: list[list[int]] = []
    for task in problem.tasks:
        costs = [task_cost(task.seconds[tier], task.joules, tier, conditions, goal) for tier in range(problem.tiers)]
        far.append([program.variable(costs[hop + 1] - costs[hop]) for hop in hops])
        for hop in hops[1:]:
            program.at_least({far[-1][hop - 1]: 1.0, far[-1][hop]: -1.0}, 0.0)
    for hop in hops:
        used = program.variable(fixed_cost(hop, conditions, goal))
        for each in far:
            program.at_least({used: 1.0, each[hop]: -1.0}, 0.0)
    for transfer in problem.transfers:
        readers = [task for task in transfer.consumers if task != transfer.producer]
        for hop in hops:
            start = program.variable(0.0, upper=0.0) if transfer.producer is None else far[transfer.producer][hop]
            if transfer.wanted and transfer.producer is not None:
                if transfer.movable:
                    program.costs[start] += returned_cost(transfer.returned_bytes, hop, conditions, goal)
                else:
                    program.upper[start] = 0.0
            for reader in readers:
                program.at_least({far[reader][hop]: 1.0, start: -1.0}, 0.0)
                if not transfer.movable:
                    program.at_least({far[reader][hop]: -1.0, start: 1.0}, 0.0)
            if readers and transfer.movable:
                sent = program.variable(sent_cost(transfer, hop, conditions, goal))
                for reader in readers:
                    program.at_least({sent: 1.0, far[reader][hop]: -1.0, start: 1.0}, 0.0)
    _limit_memory(program, problem, far, memory)
    values = program.solve()
    if values is None:
        least = _least_memory(problem, conditions)
        raise LimitError(
            f"no split fits into {memory} bytes of the device",
            why=f"the least that was found is {least} bytes",
            hint=f"--memory-limit {least}, or a smaller model on the device",
        )
    return tuple(int(sum(values[each] for each in row)) for row in far)


def _limit_memory(program: _Program, problem: SplitProblem, far: list[list[int]], memory: int) -> None:
    """Weights of the device's tasks, and the values that are there during each of all tasks, within `memory`."""
    held: dict[int, float] = {}
    for weights in problem.weights:
        if weights.bytes:
            kept = program.variable(0.0)
            held[kept] = weights.bytes / max(memory, 1)
            for user in weights.users:
                program.at_least({kept: 1.0, far[user][0]: 1.0}, 1.0)
    for row in live_rows(problem):
        # memory - inputs - sum(bytes of values made here) - weights >= 0, with "made here" as 1 - far
        terms = {variable: -share for variable, share in held.items()}
        room = float(memory)
        for producer, size in row:
            room -= size
            if producer is not None:
                terms[far[producer][0]] = terms.get(far[producer][0], 0.0) + size / max(memory, 1)
        program.at_least(terms, -room / max(memory, 1))


def _least_memory(problem: SplitProblem, conditions: Conditions) -> int:
    """The memory of the placement that has as little as possible on the device."""
    beyond = [[10**6 if tier == 0 else 0 for tier in range(problem.tiers)] for _ in problem.tasks]
    tasks = tuple(
        type(task)(task.name, tuple(float(each) for each in row))
        for task, row in zip(problem.tasks, beyond, strict=True)
    )
    placement = cheapest(replace(problem, tasks=tasks), conditions, Goal(seconds=1.0))
    return device_memory(problem, placement)
